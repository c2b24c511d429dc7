"""Notebooks as pages: cells as Markdown and code, their outputs as they are kept in the file. Nothing is executed here.

So the site needs neither Jupyter nor a script of its own for them, and they look like every other page. Equations
($$ ... $$) are drawn as those of the pages are. Pictures become files; what they show is said in the cell's metadata
(`"alt"`), for those who do not see them. `executing` makes the outputs.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from docs.hooks.blocks import DOCS

NOTEBOOKS = DOCS / "notebooks"
_EQUATION = re.compile(r"^\$\$\n(.*?)^\$\$$", flags=re.DOTALL | re.MULTILINE)
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg"}


class NotebookPage(NamedTuple):
    """A page as Markdown, and its pictures by their names beside it."""

    markdown: str
    pictures: dict[str, bytes]


def notebooks() -> list[Path]:
    """All of them."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def notebook_page(path: Path) -> NotebookPage:
    """The page of a notebook; ValueError for what no reader should see: an error, a picture without words."""
    parts, pictures = [], {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], start=1):
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(_EQUATION.sub(r"```math\n\1```", source))
            continue
        parts.append(f"````python\n{source}\n````")
        for output in cell["outputs"]:
            where = f"{path.name}, cell {number}"
            kind, content = _shown(output, where)
            if kind == "text":
                parts.append(f"````{{.text .output}}\n{content.rstrip()}\n````")
                continue
            alt = cell["metadata"].get("alt")
            if not alt:
                raise ValueError(f"{where}: metadata: found no alt, expected what its picture shows, in words")
            name = f"{path.stem}-{len(pictures) + 1}.{kind}"
            pictures[name] = base64.b64decode(content)
            parts.append(f"![{alt}]({name}){{ .paper .output }}")
    told = f"*This page is a notebook, [{path.name}]({path.name}), with the outputs of its last run.*"
    return NotebookPage("\n\n".join([parts[0], told, *parts[1:]]) + "\n", pictures)


def _shown(output: dict[str, Any], where: str) -> tuple[str, str]:
    """What an output is, text or the suffix of a picture, and its content."""
    if output["output_type"] == "error":
        raise ValueError(f"{where}: {output['ename']}: {output['evalue']}")
    if output["output_type"] == "stream":
        if output["name"] != "stdout":
            raise ValueError(f"{where}: found an output on {output['name']}, expected none (execute it again)")
        return "text", _text(output["text"])
    data = output["data"]
    for kind, suffix in _SUFFIXES.items():
        if kind in data:
            return suffix, _text(data[kind])
    return "text", _text(data["text/plain"])


def _text(lines: str | list[str]) -> str:
    """Text as notebooks keep it: whole, or by lines."""
    return lines if isinstance(lines, str) else "".join(lines)
