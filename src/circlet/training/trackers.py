"""Trackers: told of every line of metrics.jsonl while a run is under way, to show it elsewhere (TensorBoard, MLflow).

A tracker is made by a function or class `(folder, config)`, with the path of the run folder and its settings as plain
values, and called with each line, a dict with "step" and numbers by name, on rank 0. If it has a `close`, that is
called at the end. One that fails is told of on standard error and not asked again: the training goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circlet.extensions import Extensions
from circlet.terminal import say

Tracker = Callable[[dict[str, Any]], None]
MakeTracker = Callable[[Path, dict[str, Any]], Tracker]


def _check(label: str, given: Any) -> MakeTracker:
    if not callable(given):
        raise ValueError(f"{label}: found {type(given).__name__}, expected a function or class (folder, config)")

    def make(folder: Path, config: dict[str, Any]) -> Tracker:
        try:
            tracker = given(folder, config)
        except TypeError as error:
            raise ValueError(f"{label}: could not be called with (folder, config): {error}") from error
        if not callable(tracker):
            raise ValueError(f"{label}: gave {type(tracker).__name__}, expected a function of a line of metrics.jsonl")
        found: Tracker = tracker
        return found

    return make


def _none() -> dict[str, MakeTracker]:
    return {}


TRACKERS: Extensions[MakeTracker] = Extensions("circlet.trackers", "tracker", _none, _check)


@contextmanager
def tracking(trackers: Sequence[Tracker]) -> Iterator[Tracker]:
    """A function that tells all trackers of a line; they are closed at the end."""
    working = list(trackers)

    def tell(line: dict[str, Any]) -> None:
        for tracker in list(working):
            try:
                tracker(line)
            except Exception as error:
                working.remove(tracker)
                said = f"tracker {_called(tracker)} failed and is not asked again: {error}"
                say(said)

    try:
        yield tell
    finally:
        for tracker in trackers:
            close = getattr(tracker, "close", None)
            if callable(close):
                try:
                    close()
                except Exception as error:
                    said = f"tracker {_called(tracker)} could not be closed: {error}"
                    say(said)


def _called(tracker: Tracker) -> str:
    return getattr(tracker, "__qualname__", type(tracker).__qualname__)
