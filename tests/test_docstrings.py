"""One style of docstrings: a summary line, then an example where there is one, then the rest."""

import ast
import inspect
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "circlet"
PATHS = sorted(PACKAGE.rglob("*.py"))


def docstrings(path):
    """(name, docstring) of the module, its classes and functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found:
                yield getattr(node, "name", "module"), inspect.cleandoc(found)


@pytest.mark.parametrize("path", PATHS, ids=[str(path.relative_to(PACKAGE)) for path in PATHS])
def test_an_example_stands_directly_behind_the_summary(path):
    """In the second paragraph, or in the third behind one that introduces it with a colon."""
    for name, text in docstrings(path):
        assert not re.search(r"^Examples?:$", text, flags=re.MULTILINE), f"{name}: an example needs no heading"
        paragraphs = re.split(r"\n\s*\n", text)
        places = [place for place, paragraph in enumerate(paragraphs) if re.search(r"^>>>", paragraph, re.MULTILINE)]
        if places:
            first = 2 if len(paragraphs) > 2 and paragraphs[1].endswith(":") else 1
            assert places[0] == first, f"{name}: expected its example directly behind the summary"
