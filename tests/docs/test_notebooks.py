"""The notebooks: executed from their beginning in an empty folder, and still showing what is in them."""

import base64
import json
import re
import subprocess
import sys

import pytest

from docs.hooks.blocks import DOCS
from docs.hooks.notebooks import notebook_page, notebooks

PATHS = [pytest.param(path, id=path.stem) for path in notebooks()]
NUMBER = re.compile(r"-?\d+([.,]\d+)*(e[+-]?\d+)?")
# Sizes and durations are written in the unit that suits them: with the number the unit may differ.
UNIT = re.compile(r"# (B|[KMGT]iB|us|ms|s|min|h)\b")
# A stage of a training that adds next to nothing is kept on one machine and left out on another.
VERDICT = re.compile(r": (kept|not better, left out)$", flags=re.MULTILINE)
MOST_BYTES = 400_000  # of a notebook: somebody clones it all


def shown(cell):
    """What a cell shows, but for its figures and pixels, which differ from machine to machine."""
    found = []
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        words = UNIT.sub("# unit", NUMBER.sub("#", VERDICT.sub(": judged", "".join(text))))
        found.append((output["output_type"], sorted(output.get("data", {})), words.split()))
    return found


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize("path", PATHS)
def test_executed_from_the_beginning_it_shows_what_is_kept(path, tmp_path, monkeypatch):
    pytest.importorskip("nbclient", reason="pip install 'circlet[notebooks]'")
    pytest.importorskip("ipykernel", reason="pip install 'circlet[notebooks]'")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    command = [sys.executable, "-m", "docs.hooks.executing", path.stem, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    again = "(python -m docs.hooks.executing writes it anew)"
    for kept, made in zip(cells(path), cells(tmp_path / path.name), strict=True):
        assert shown(kept) == shown(made), f"{path.name}: {''.join(kept['source'])[:80]} {again}"


@pytest.mark.parametrize("path", PATHS)
def test_it_is_a_page(path):
    page = notebook_page(path)
    assert page.markdown.startswith("# ")
    assert page.pictures
    assert "$$" not in page.markdown
    assert path.stat().st_size < MOST_BYTES
    assert [cell["execution_count"] for cell in cells(path) if cell["cell_type"] == "code"] == list(
        range(1, sum(cell["cell_type"] == "code" for cell in cells(path)) + 1)
    )
    assert not re.search(r"/home/|/tmp/|/root/", path.read_text(encoding="utf-8"))  # of who executed it


def made(path, **output):
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": [output]}
    path.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    return path


def test_what_no_reader_should_see_is_an_error(tmp_path):
    path = tmp_path / "bad.ipynb"
    with pytest.raises(ValueError, match=r"^bad.ipynb, cell 1: NameError: no x$"):
        notebook_page(made(path, output_type="error", ename="NameError", evalue="no x"))
    with pytest.raises(ValueError, match="found an output on stderr, expected none"):
        notebook_page(made(path, output_type="stream", name="stderr", text="UserWarning"))
    picture = {"image/png": base64.b64encode(b"...").decode(), "text/plain": "<Figure>"}
    with pytest.raises(ValueError, match="found no alt, expected what its picture shows"):
        notebook_page(made(path, output_type="display_data", data=picture))
