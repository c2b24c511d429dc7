"""ARCHITECTURE.md is true: the files on the way of a loss are those that a traced call enters, and others exist."""

import re
import sys
import tomllib
from pathlib import Path

import torch

import circlet
from circlet.similarity.native import native

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "circlet"


def entered(call):
    """Files of circlet whose code runs in `call`, in the order in which it is entered."""
    found = []

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents and (name := str(path.relative_to(PACKAGE))) not in found:
            found.append(name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return found


def test_the_walk_of_a_small_batch():
    embeddings, labels = torch.randn(80, 16, requires_grad=True), torch.arange(80) // 5
    loss = circlet.CircleLoss()
    loss(embeddings, labels)
    walk = TEXT[TEXT.index("<!-- begin walk of a loss -->") : TEXT.index("<!-- end walk of a loss -->")]
    listed = re.findall(r"^\| `([^`]+)` \|", walk, flags=re.MULTILINE)
    if native(embeddings.dtype, embeddings.device) is None:
        listed.remove("similarity/exponentials.py")
    assert sorted(entered(lambda: loss(embeddings, labels))) == sorted(listed)
    assert len(listed) <= 14


def test_every_file_that_is_named_exists():
    for name in re.findall(r"`([a-z_]+/[a-z_]+\.py|[a-z_]+\.py)`", TEXT):
        assert (PACKAGE / name).is_file(), name
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT[TEXT.index("From an image") :], flags=re.MULTILINE)
    packages = [package for package, _ in rows]
    assert len(packages) == len(set(packages))  # each is entered once
    for package, files in rows:
        for name in re.findall(r"`(\w+)`", files):
            if package != "losses":
                there = (PACKAGE / package / f"{name}.py").is_file() or (PACKAGE / f"{name}.py").is_file()
                assert there or name in dir(__import__(f"circlet.{package}", fromlist=[name])), (package, name)


def test_layers_are_those_that_are_checked():
    drawn = TEXT[TEXT.index("```\ncli") + 4 :]
    drawn = drawn[: drawn.index("```")].strip().split("\n")
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert drawn == [row.replace("circlet.", "") for row in contract["layers"]]
