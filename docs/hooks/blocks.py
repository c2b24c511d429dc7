"""The code blocks of a page: what language, which lines; the commands among them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1]
_FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", flags=re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block: its language, its text without the fence, the line that it begins at."""

    language: str
    text: str
    line: int


class Session(NamedTuple):
    """A command of a `console` block, and what it is shown to print."""

    command: str
    output: str


def pages() -> list[Path]:
    """All pages that are written by hand."""
    return sorted(DOCS.rglob("*.md"))


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page in order.

    >>> blocks("Text\\n```python\\nprint(1)\\n```\\n")
    [Block(language='python', text='print(1)\\n', line=2)]
    """
    found = []
    for match in _FENCE.finditer(page):
        indent, language, text = match.groups()
        text = "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))
        found.append(Block(language, text, page.count("\n", 0, match.start()) + 1))
    return found


def sessions(block: str) -> list[Session]:
    """The commands of a `console` block, each with its output.

    >>> sessions("$ circlet --version\\ncirclet 0.1.0\\n$ ls\\n")
    [Session(command='circlet --version', output='circlet 0.1.0\\n'), Session(command='ls', output='')]
    """
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [Session(*_halves(part)) for part in parts]


def commands(block: str) -> list[list[str]]:
    """The words of each `circlet` command of a shell block, its verb first; continued lines joined, comments dropped.

    >>> commands("pip install .\\ncirclet index photos   # makes photos.index\\n")
    [['index', 'photos']]
    """
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for start in (["circlet"], ["python", "-m", "circlet"]):
            if words[: len(start)] == start:
                found.append(words[len(start) :])
        if words[:1] == ["torchrun"] and "circlet" in words:
            found.append(words[words.index("circlet") + 1 :])
    return found


def _halves(part: str) -> tuple[str, str]:
    lines = part.splitlines(keepends=True)
    count = 1
    while lines[count - 1].endswith("\\\n"):
        count += 1
    return "".join(lines[:count]).replace("\\\n", "").strip(), "".join(lines[count:])
