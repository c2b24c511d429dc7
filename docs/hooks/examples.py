"""A page for each example: what it is about, how it is run, and the file itself, which the tests run."""

import ast
import re
from pathlib import Path

from docs.hooks.blocks import DOCS

EXAMPLES = DOCS.parent / "examples"
CLUSTER = EXAMPLES / "cluster"
_RUN = re.compile(r"^Run: +(?P<command>.+?)(?: {2,}\((?P<note>.+)\))?$", flags=re.MULTILINE)


def examples() -> list[Path]:
    """All of them."""
    return sorted(EXAMPLES.glob("*.py"))


def example_pages() -> dict[str, str]:
    """Markdown of each page, by its path in the site."""
    return {**{f"examples/{path.stem}.md": _page(path) for path in examples()}, "examples/cluster.md": _cluster()}


def title_of(docstring: str) -> str:
    """What an example is about: its first words.

    >>> title_of("scikit-learn: an embedding as a transformer.")
    'scikit-learn'
    """
    return re.split(r"[:.,(]", docstring, maxsplit=1)[0].strip()


def _page(path: Path) -> str:
    source = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    run = _RUN.search(docstring)
    if run is None:
        raise ValueError(f"{path.name}: found no line Run: in its docstring, expected one")
    note = f"   # {run['note']}" if run["note"] else ""
    return (
        f"# {title_of(docstring)}\n\n{docstring.splitlines()[0]}\n\n"
        f"```sh\n{run['command']}{note}\n```\n\n"
        f"[{path.name}]({path.name}), as the tests run it:\n\n````python\n{source}````\n"
    )


def _cluster() -> str:
    """The page about clusters, and the files that it names."""
    parts = [(CLUSTER / "README.md").read_text(encoding="utf-8").rstrip()]
    for path in sorted(CLUSTER.iterdir()):
        if path.suffix != ".md":
            language = "yaml" if path.suffix == ".yaml" else "sh"
            parts.append(f"## {path.name}\n\n````{language}\n{path.read_text(encoding='utf-8')}````")
    return "\n\n".join(parts) + "\n"
