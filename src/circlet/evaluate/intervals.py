"""How sure a mean over queries is, for other *classes*: confidence intervals over the classes.

Queries of one class are alike, so they count together. `class_interval` draws classes with replacement (cluster
bootstrap: Davison and Hinkley 1997, section 3.8; percentile interval), for figures that are shown. `class_t_interval`
takes Student's t, which is wider where there are few classes, for decisions. Neither says anything of other seeds of
the training; `circlet.compare` has intervals over these.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval, which are nan where one value is all there is."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds."""
        return (self.high - self.low) / 2


def class_interval(
    values: Tensor, labels: Tensor, *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean of `values` (n,) of queries, and its interval over classes drawn with replacement.

    >>> class_interval(torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 1]))
    Interval(mean=0.5, low=0.0, high=1.0)

    labels: (n,) integers, the class of each. For a difference between two embeddings, give the differences of the same
    queries: what is hard for both falls out. One class alone has no interval (nan).

    ValueError for no value, shapes that differ, or a confidence outside 0 to 1.
    """
    sums, counts = _by_class(values, labels, confidence)
    mean = float(sums.sum() / counts.sum())
    if len(counts) < 2:
        return Interval(mean, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))


def class_t_interval(values: Tensor, labels: Tensor, *, confidence: float = 0.95) -> Interval:
    """As `class_interval`, by Student's t with as many degrees of freedom as there are classes, less one.

    >>> class_t_interval(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0, 1, 2]))
    Interval(mean=1.0, low=-1.48..., high=3.48...)

    The error is that of a ratio of sums over classes: sqrt(C / (C - 1) sum_c (s_c - mean n_c)^2) / n (Cochran 1977,
    section 9A).
    """
    from scipy import stats

    sums, counts = _by_class(values, labels, confidence)
    num, mean = len(counts), float(sums.sum() / counts.sum())
    if num < 2:
        return Interval(mean, float("nan"), float("nan"))
    error = np.sqrt(num / (num - 1) * np.square(sums - mean * counts).sum()) / counts.sum()
    half = float(stats.t.ppf((1 + confidence) / 2, num - 1) * error)
    return Interval(mean, mean - half, mean + half)


def _by_class(values: Tensor, labels: Tensor, confidence: float) -> tuple[Floats, Floats]:
    """Sum of the values of each class, and how many there are."""
    if values.ndim != 1 or values.shape != labels.shape or not len(values):
        raise ValueError(f"values, labels: found shapes {tuple(values.shape)} and {tuple(labels.shape)}, expected (n,) "
                         "twice, n at least 1")  # fmt: skip
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: found {confidence}, expected a share between 0 and 1")
    _, index = torch.unique(labels, return_inverse=True)
    counts = torch.bincount(index).double().numpy()
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, index, values.double()).numpy()
    return sums, counts
