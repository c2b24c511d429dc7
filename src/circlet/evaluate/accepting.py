"""The lowest threshold that lets in no more than so many of those that should stay out. At or above it: let in."""

from typing import NamedTuple

import torch
from torch import Tensor

MARGIN = 1e-6  # above the highest that must stay out, where nothing higher is there to stay below of; over float32's


class Accepting(NamedTuple):
    """A threshold, and how many of those that should stay out are at or above it."""

    threshold: float
    accepted: int


def num_allowed(rate: float, number: int) -> int:
    """The largest whole number that is no more than the share `rate` of `number`.

    >>> num_allowed(0.01, 100), num_allowed(0.01, 99), num_allowed(0.1, 30)
    (1, 0, 3)
    """
    nearest = round(rate * number)
    return nearest if nearest / max(number, 1) <= rate else nearest - 1


def lowest_threshold(scores: Tensor, allowed: int) -> Accepting:
    """The threshold for (n,) scores, float64 and descending, of which `allowed` may be let in, or fewer if they tie.

    >>> lowest_threshold(torch.tensor([0.9, 0.7, 0.5, 0.5], dtype=torch.float64), 1)
    Accepting(threshold=0.8, accepted=1)
    >>> lowest_threshold(torch.tensor([0.9, 0.5, 0.5], dtype=torch.float64), 2)
    Accepting(threshold=0.7, accepted=1)

    Half way between the lowest that is let in and the highest that is not; where none is let in, just above all; where
    all are, -1, the lowest cosine.
    """
    if allowed >= len(scores):
        return Accepting(-1.0, len(scores))
    refused = scores[allowed]
    accepted = int((scores[:allowed] > refused).sum())
    if accepted == 0:
        return Accepting(float(refused) + MARGIN, 0)
    return Accepting(float(scores[accepted - 1] + refused) / 2, accepted)


def curve_counts(number: int, points: int) -> list[int]:
    """Numbers of accepted ones at which a curve is drawn: 0, 1, 2, ... at first, then by factors, up to `number`.

    >>> curve_counts(1000, 8)
    [0, 1, 3, 7, 19, 52, 139, 373, 1000]
    """
    steps = torch.logspace(0, torch.tensor(float(max(number, 1))).log10().item(), points, dtype=torch.float64)
    return sorted({0, number, *(int(step) for step in steps.round().tolist())})
