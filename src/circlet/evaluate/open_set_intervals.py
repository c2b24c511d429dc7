"""How sure open-set figures are, for other classes: their probes are drawn together, with replacement.

The gallery stays as it is. Where known and unknown probes are of the same classes (`leave_one_class_out`), a class that
is drawn twice counts twice in both roles; classes that are only known, or only unknown, are drawn among themselves.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from circlet.evaluate.accepting import MARGIN
from circlet.evaluate.intervals import Floats, Interval, class_draws, class_interval, percentile_interval
from circlet.evaluate.open_set import OpenSetScores, auroc, class_means


class PointIntervals(NamedTuple):
    """Of what a threshold gives; fnir at rank 1."""

    fpir: Interval
    fnir: Interval
    baks: Interval
    baus: Interval


class OpenSetIntervals(NamedTuple):
    """fnir_at_fpir: {FPIR: FNIR at rank 1, at the threshold that keeps it}. at_threshold: {threshold: its point}."""

    auroc: Interval
    fnir_at_fpir: dict[float, Interval]
    at_threshold: dict[float, PointIntervals]


def open_set_intervals(
    scores: OpenSetScores,
    *,
    fpirs: Sequence[float] = (0.1, 0.01),
    thresholds: Sequence[float] = (),
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> OpenSetIntervals:
    """Intervals over classes of the figures of `open_set`; each mean is that of the probes as they are.

    At a FPIR the threshold is chosen anew in each draw; at a threshold it stays. Draws without a known or an unknown
    probe are left out.
    """
    draw = _Draws(scores)
    drawn = np.array([draw.figures(known, unknown, fpirs) for known, unknown in draw.weights(draws, seed)])
    num = min(len(draw.known_names), len(draw.unknown_names))
    means = [scores.at(scores.threshold_at(rate)).fnir[1] for rate in fpirs]
    means.append(auroc(scores.known_best, scores.unknown_best))
    found = [percentile_interval(mean, column, confidence, num) for mean, column in zip(means, drawn.T, strict=True)]
    points = {float(t): _at(scores, float(t), confidence, draws, seed) for t in thresholds}
    return OpenSetIntervals(found[-1], dict(zip(map(float, fpirs), found, strict=False)), points)


def _at(scores: OpenSetScores, threshold: float, confidence: float, draws: int, seed: int) -> PointIntervals:
    let_in = scores.unknown_best >= threshold
    right = (scores.known_rank == 1) & (scores.known_own >= threshold)
    known, unknown = class_means(right, scores.known_class), class_means(~let_in, scores.unknown_class)
    columns = ((let_in, scores.unknown_class), (~right, scores.known_class),
               (known, torch.arange(len(known))), (unknown, torch.arange(len(unknown))))  # fmt: skip
    return PointIntervals(
        *(class_interval(values.double(), labels, confidence=confidence, draws=draws, seed=seed) for values, labels in
          columns)
    )  # fmt: skip


class _Draws:
    """The probes in order of their scores, so that a draw takes sums of weights alone."""

    def __init__(self, scores: OpenSetScores) -> None:
        self.known_names, known = np.unique(scores.known_class.numpy(), return_inverse=True)
        self.unknown_names, unknown = np.unique(scores.unknown_class.numpy(), return_inverse=True)
        best = scores.unknown_best.numpy()
        order = np.argsort(-best, kind="stable")
        falling = best[order]
        self.unknown, self.falling = unknown[order], falling  # from the highest score on
        self.ends = np.flatnonzero(np.append(falling[:-1] > falling[1:], True))  # of scores that tie
        self.known = known
        own = np.where(scores.known_rank.numpy() == 1, scores.known_own.numpy(), -np.inf)
        order = np.argsort(own, kind="stable")
        self.own, self.own_class = own[order], known[order]
        rising = falling[::-1]
        self.lower = np.searchsorted(rising, scores.known_best.numpy())
        self.not_higher = np.searchsorted(rising, scores.known_best.numpy(), side="right")

    def weights(self, draws: int, seed: int) -> Iterator[tuple[Floats, Floats]]:
        """Yield (known, unknown): how often each class is drawn."""
        names = np.union1d(self.known_names, self.unknown_names)
        role = np.isin(names, self.known_names) + 2 * np.isin(names, self.unknown_names)
        strata = [np.flatnonzero(role == kind) for kind in (1, 2, 3) if (role == kind).any()]
        known, unknown = (np.searchsorted(names, own) for own in (self.known_names, self.unknown_names))
        parts = [
            chain.from_iterable(class_draws(len(stratum), draws, seed + number))
            for number, stratum in enumerate(strata)
        ]
        for rows in zip(*parts, strict=True):
            weight = np.zeros(len(names))
            for stratum, row in zip(strata, rows, strict=True):
                weight[stratum] = row
            yield weight[known], weight[unknown]

    def figures(self, known: Floats, unknown: Floats, fpirs: Sequence[float]) -> list[float]:
        """FNIR at each FPIR, then AUROC, of classes of these weights; nan where a kind of probe is missing."""
        let_in = np.cumsum(unknown[self.unknown])
        hits = np.concatenate([[0.0], np.cumsum(known[self.own_class])])
        mass, impostors = hits[-1], let_in[-1]
        if not mass or not impostors:
            return [float("nan")] * (len(fpirs) + 1)
        found = []
        for rate in fpirs:
            kept = int(np.searchsorted(let_in[self.ends], rate * impostors * (1 + 1e-12), side="right"))
            threshold = self._threshold(let_in, kept)
            found.append(float(hits[np.searchsorted(self.own, threshold)] / mass))
        below = np.concatenate([[0.0], np.cumsum(unknown[self.unknown[::-1]])])
        wins = (below[self.lower] + below[self.not_higher]) / 2
        return [*found, float((known[self.known] * wins).sum() / (mass * impostors))]

    def _threshold(self, let_in: Floats, kept: int) -> float:
        """As `lowest_threshold`, where so many of `ends` are let in; the weight of scores down to each is `let_in`."""
        if kept == len(self.ends):
            return -1.0
        start = self.ends[kept - 1] + 1 if kept else 0
        refused, weight = float(self.falling[start]), let_in[start - 1] if start else 0.0
        if not weight:
            return refused + MARGIN
        return float(self.falling[np.searchsorted(let_in, weight)] + refused) / 2  # the last of any weight
