"""How long the training waits for its batches, so that a loader which is too slow is told of, with what to change.

On a CPU it waits while the loop does. A GPU may still be at work then: there it is the time between one step's last
kernel and the next one's first, as far as the loop waited in it.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from circlet.training.batches import Batch

NOTICED_SHARE = 0.1  # of the time of the training
NOTICED_SECONDS = 5.0
KEY = "waited_share"


class Waiting:
    """Times what comes before each step.

    seconds: waited, those before an interruption included, and without the first batch, for which loader workers start.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds, self.told = device, 0.0, False
        self._gaps: list[tuple[Any, Any, float]] = []

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, timed; the caller takes its step between one and the next."""
        remaining = iter(batches)
        batch = next(remaining, None)
        while batch is not None:
            yield batch
            before, began = self._mark(), time.monotonic()
            batch = next(remaining, None)
            self._note(before, time.monotonic() - began)

    def share(self, seconds: float) -> float | None:
        """Share of the training's `seconds` that were waited, where it is worth a word."""
        self._count()
        share = self.seconds / max(seconds, 1e-9)
        return min(share, 1.0) if share > NOTICED_SHARE and self.seconds > NOTICED_SECONDS else None

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint holds of it."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Count on from what `state_dict` gave."""
        self.seconds = state["seconds"]

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _note(self, before: Any, seconds: float) -> None:
        if before is None:
            self.seconds += seconds
            return
        self._gaps.append((before, self._mark(), seconds))
        self._count()

    def _count(self) -> None:
        """Count the gaps whose end a GPU has come to."""
        while self._gaps and self._gaps[0][1].query():
            before, after, seconds = self._gaps.pop(0)
            self.seconds += min(seconds, before.elapsed_time(after) / 1000)


def sentence(share: float, faster: str) -> str:
    """What is told, once in the log and at the end.

    >>> sentence(0.234, "--data.workers 4 (found 2)")
    'The training waited for its batches 23 % of the time; faster: --data.workers 4 (found 2).'
    """
    return f"The training waited for its batches {share:.0%} of the time; faster: {faster}.".replace("%", " %")


def faster(batches: Any) -> str:
    """What would make batches come faster: what they say themselves (attribute `faster`), else of a DataLoader."""
    own = getattr(batches, "faster", None)
    if isinstance(own, str):
        return own
    workers = getattr(getattr(batches, "loader", None), "num_workers", None)
    return "batches that are made in less time" if workers is None else f"num_workers above {workers} of the DataLoader"


def waited(lines: Iterable[dict[str, Any]]) -> dict[str, float]:
    """What result.json says of it, out of metrics.jsonl; empty where it was not worth a word.

    >>> waited([{"step": 20, "loss": 1.0}, {"step": 20, "waited_share": 0.2}])
    {'waited_share': 0.2}
    """
    found: dict[str, float] = {}
    for line in lines:
        if line.get(KEY) is not None:
            found = {KEY: line[KEY]}
        elif "loss" in line:  # of a training that went on
            found = {}
    return found


def notes(found: dict[str, float], faster: str) -> tuple[str, ...]:
    """The sentence of what `waited` gave, if any."""
    return tuple(sentence(share, faster) for share in found.values())
