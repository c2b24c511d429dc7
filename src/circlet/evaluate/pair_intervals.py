"""How sure TAR at FAR is, for other classes: classes are drawn with replacement, and both classes of a pair count.

A pair of two classes weighs the product of how often each was drawn, a pair of one class how often that was; pairs of
two copies of one class are none. So a draw is what a set of these classes would give, and the threshold of a FAR is
chosen anew in it. Products of weights give intervals that are never too short, and too long by up to sqrt(3) where what
matters is how single pairs of classes happen to be alike (Owen and Eckles, "Bootstrapping data arrays of arbitrary
order", 2012).
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from circlet.evaluate.accepting import MARGIN
from circlet.evaluate.intervals import Interval, class_draws, percentile_interval
from circlet.evaluate.pair_scores import PairScores

Integers = npt.NDArray[np.int64]


class PairIntervals(NamedTuple):
    """tar_at_far: {FAR: TAR at the threshold that keeps it}. far, tar: {threshold: rates at it}."""

    tar_at_far: dict[float, Interval]
    far: dict[float, Interval]
    tar: dict[float, Interval]


def pair_intervals(
    pairs: PairScores,
    *,
    fars: Sequence[float] = (),
    thresholds: Sequence[float] = (),
    confidence: float = 0.95,
    draws: int = 500,
    seed: int = 0,
) -> PairIntervals:
    """Intervals of TAR at FARs, and of FAR and TAR at thresholds. Each mean is that of the pairs as they are.

    Draws in which a rate has no pair to be taken over are left out. A draw whose FAR would accept more than the pairs
    that `pairs` kept is cut at the lowest of these: its TAR is too low then, if at all.
    """
    found: dict[tuple[str, float], list[float]] = {}
    num = len(pairs.sizes)
    genuine = pairs.same.numpy()[::-1]
    of_genuine = pairs.same_class.numpy()[::-1]
    for weights in chain.from_iterable(class_draws(num, draws, seed)):
        mass = weights[of_genuine]
        below = np.concatenate([[0], np.cumsum(mass)])
        total = _total(pairs, weights)
        for far in fars:
            threshold = _threshold(pairs, weights, far * total)
            found.setdefault(("tar_at_far", far), []).append(_above(genuine, below, threshold))
        for threshold in thresholds:
            accepted = _accepted(pairs, weights, threshold)
            found.setdefault(("far", threshold), []).append(accepted / total if total else np.nan)
            found.setdefault(("tar", threshold), []).append(_above(genuine, below, threshold))
    means = {("tar_at_far", far): pairs.tar(pairs.threshold_at(far).threshold) for far in fars}
    means |= {("far", t): pairs.far(t) for t in thresholds} | {("tar", t): pairs.tar(t) for t in thresholds}
    intervals = {key: percentile_interval(means[key], np.array(found[key]), confidence, num) for key in found}
    parts = ({value: intervals[kind, value] for kind, value in intervals if kind == name} for name in
             PairIntervals._fields)  # fmt: skip
    return PairIntervals(*parts)


def _total(pairs: PairScores, weights: Integers) -> float:
    """Weight of all pairs of two classes."""
    images = weights * pairs.sizes.numpy()
    squares = weights**2 * pairs.sizes.numpy() ** 2
    folds = pairs.folds.numpy()
    sums, own = (np.bincount(folds, weights=part) for part in (images, squares))
    return float((sums**2 - own).sum() / 2)


def _threshold(pairs: PairScores, weights: Integers, allowed: float) -> float:
    """The lowest at which the weight of the pairs of two classes at or above it is no more than that."""
    scores, classes = pairs.different.numpy(), pairs.different_classes.numpy()
    taken = min(len(scores), max(1000, 4 * int(allowed) + 1))
    while True:
        heavy = np.cumsum(weights[classes[:taken, 0]] * weights[classes[:taken, 1]])
        place = int(np.searchsorted(heavy, allowed * (1 + 1e-12), side="right"))  # the first that is too much
        if place < taken or taken == len(scores):
            break
        taken = min(len(scores), 8 * taken)
    if place == len(scores):
        return -1.0 if len(scores) == pairs.num_different else float(scores[-1])
    first = len(scores) - int(np.searchsorted(scores[::-1], scores[place], side="right"))  # of those that tie
    if first == 0 or not heavy[first - 1]:
        return float(scores[first] + MARGIN)
    last = int(np.searchsorted(heavy, heavy[first - 1]))  # of any weight, of those that are let in
    return float(scores[last] + scores[first]) / 2


def _accepted(pairs: PairScores, weights: Integers, threshold: float) -> float:
    scores, classes = pairs.different.numpy(), pairs.different_classes.numpy()
    number = len(scores) - int(np.searchsorted(scores[::-1], threshold))
    return float((weights[classes[:number, 0]] * weights[classes[:number, 1]]).sum())


def _above(ascending: npt.NDArray[np.float64], below: Integers, threshold: float) -> float:
    """Share of the weight at or above a threshold; nan where there is none."""
    place = int(np.searchsorted(ascending, threshold))
    return float((below[-1] - below[place]) / below[-1]) if below[-1] else float("nan")
