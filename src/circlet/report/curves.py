"""Curves over a test set, from its survey: histograms of similarity, ROC of all pairs, Recall@K for every K."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
SHOWN_BINS = 100


class Histogram(NamedTuple):
    """Share of the pairs in each bin, in percent. Each is (SHOWN_BINS,); `similarity` is the middle of the bin."""

    similarity: Array
    within: Array
    between: Array


class Roc(NamedTuple):
    """(BINS + 1,) false and true accept rates at falling thresholds, from one that accepts no pair to one for all."""

    far: Array
    tar: Array


def histogram(within: Tensor, between: Tensor) -> Histogram:
    """The counts of a survey in fewer bins, each kind in percent of its own pairs (0 where there is none)."""
    shares = [
        (100 * counts.double().view(SHOWN_BINS, -1).sum(1) / max(1, int(counts.sum()))).numpy()
        for counts in (within, between)
    ]
    return Histogram((np.arange(SHOWN_BINS) + 0.5) * 2 / SHOWN_BINS - 1, *shares)


def roc(within: Tensor, between: Tensor) -> Roc | None:
    """The ROC of accepting a pair as one of a class from a similarity on; None without pairs of either kind.

    Thresholds are the edges of the bins, and at those the rates are exact.
    """
    if not (within.any() and between.any()):
        return None
    tar, far = ((counts.flip(0).cumsum(0).double() / counts.sum()).numpy() for counts in (within, between))
    return Roc(np.append(0.0, far), np.append(0.0, tar))


def tar_at(curve: Roc, far: float) -> float:
    """The highest TAR among the thresholds whose FAR is at most `far` ("at_most" of circlet.evaluate)."""
    return float(curve.tar[np.searchsorted(curve.far, far, side="right") - 1])


def recall_curve(hits: Tensor) -> Array:
    """Recall@K for K = 1 to k: the share of the queries with a hit among their first K.

    >>> import torch
    >>> recall_curve(torch.tensor([[False, True], [True, False], [False, False]]))
    array([0.33333333, 0.66666667])

    hits: (queries, k) booleans, best first. Queries without any match count as misses.
    """
    found: Array = hits.cummax(dim=1).values.double().mean(dim=0).numpy()
    return found
