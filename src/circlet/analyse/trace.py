"""Trace: the hardest pair (s_p, max s_n) of single anchors over training, as a file beside metrics.jsonl.

    pairs.jsonl   one line for each logged step: {"s_p": [...], "s_n": [...]}, at most 256 anchors of that step's batch

Line i belongs to the i-th logged step of metrics.jsonl. A resumed run has cut metrics.jsonl back to its checkpoint, so
the trace is cut back to as many lines before it grows again. The anchors are those of the batch, a different one each
step: the trace is of a population, not of individuals.
"""

import json
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from circlet.files import read_json_lines, read_log, whole_lines, write_text

NAME = "pairs.jsonl"
DIGITS = 4


class Hardest(NamedTuple):
    """Hardest positive and hardest negative of the anchors of a step: (anchors,) arrays."""

    step: int
    s_p: NDArray[np.float64]
    s_n: NDArray[np.float64]


class _Line(TypedDict):
    """A line of the file; null stands for a step that was logged without a trace."""

    s_p: list[float]
    s_n: list[float]


class Trace:
    """Writes the trace of the run in `folder`, going on where its metrics.jsonl does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = False

    def add(self, s_p: list[float], s_n: list[float]) -> None:
        """Put the anchors of the step that is about to be logged at the end."""
        path = self.folder / NAME
        if not self.started:
            lines = whole_lines(path)[: len(logged_steps(self.folder))]
            lines += ["null"] * (len(logged_steps(self.folder)) - len(lines))  # steps logged without a trace
            write_text(path, "".join(f"{line}\n" for line in lines))
            self.started = True
        with open(path, "a", encoding="utf-8") as file:
            rounded = {"s_p": [round(s, DIGITS) for s in s_p], "s_n": [round(s, DIGITS) for s in s_n]}
            file.write(json.dumps(rounded) + "\n")


def read_trace(folder: Path) -> list[Hardest]:
    """The trace of a run by step.

    FileNotFoundError if it has none; ValueError, naming file, line and key, for lines that hold anything else.
    """
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the run folder of a run with a trace")
    found = []
    for step, anchors in zip(logged_steps(folder), read_json_lines(path, _Line | None), strict=False):
        if anchors is not None:
            found.append(Hardest(step, np.array(anchors["s_p"]), np.array(anchors["s_n"])))
    return found


def logged_steps(folder: Path) -> list[int]:
    """Steps that metrics.jsonl has a loss for; other lines are of validations."""
    return [line["step"] for line in read_log(folder / "metrics.jsonl") if "loss" in line]
