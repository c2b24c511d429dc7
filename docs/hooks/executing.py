"""Notebooks executed from their beginning, each in an empty folder: makes the outputs that their pages show.

    python -m docs.hooks.executing              writes all of docs/notebooks anew, or those that are named
    python -m docs.hooks.executing --out made   writes them there instead, for tests to compare

An error or a warning in a cell ends it. Progress on standard error is left out, and so is what changes from run to run
and no reader needs: times, versions. Needs `pip install 'circlet[notebooks]'`.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from docs.hooks.notebooks import NOTEBOOKS, notebooks

TIMEOUT_S = 1200  # of a cell, on a machine that has much else to do


def executed(path: Path) -> Any:
    """The notebook (nbformat's) with new outputs; nbclient.exceptions.CellExecutionError where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        own = {"CIRCLET_CACHE": f"{folder}/cache", "IPYTHONDIR": f"{folder}/ipython", "OMP_WAIT_POLICY": "PASSIVE"}
        empty = Path(folder, "work")
        empty.mkdir()
        client = NotebookClient(
            notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False, coalesce_streams=True,
            resources={"metadata": {"path": str(empty)}},
        )  # fmt: skip
        client.execute(env={**os.environ, **own})
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _without_progress(cell, path)
    return notebook


def _without_progress(cell: Any, path: Path) -> None:
    for output in cell.outputs:
        if output.get("name") == "stderr" and "Warning" in output.text:
            raise ValueError(f"{path.name}: {cell.source[:60]!r}: {output.text}")
    cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


def main() -> None:
    """Execute, write."""
    import nbformat

    parser = argparse.ArgumentParser(description="Execute the notebooks of docs/notebooks and keep their outputs.")
    parser.add_argument("names", nargs="*", help="such as photos; by default all")
    parser.add_argument("--out", type=Path, default=NOTEBOOKS, help="folder to write to")
    told = parser.parse_args()
    for path in notebooks():
        if not told.names or path.stem in told.names:
            notebook = executed(path)
            (told.out / path.name).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
            print(f"{told.out / path.name}: executed")


if __name__ == "__main__":
    main()
