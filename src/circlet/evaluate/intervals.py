"""How sure a mean over queries is, for other *classes*: confidence intervals over the classes.

Queries of one class are alike, so they count together. `class_interval` draws classes with replacement (cluster
bootstrap: Davison and Hinkley 1997, section 3.8; percentile interval), for figures that are shown. `class_t_interval`
takes Student's t, which is wider where there are few classes, for decisions. `class_intervals` is the first for many
means of the same queries, from the same draws. Neither says anything of other seeds of the training (`circlet.compare`
has intervals over these), nor of another gallery, which stays as it is. Where all classes have the same value the
bootstrap knows of no other, and its interval is that value.

Thresholds that are chosen anew in each draw are in `open_set_intervals` and `pair_intervals`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circlet.evaluate.student import student_t

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
    return class_intervals({"": values}, labels, confidence=confidence, draws=draws, seed=seed)[""]


def class_intervals(
    values: Mapping[str, Tensor], labels: Tensor, *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """`class_interval` of each of several means over the same queries: {name: interval}.

    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> nan = float("nan")
    >>> class_intervals({"a": torch.tensor([1.0, 1.0, 0.0, 0.0]), "b": torch.tensor([1.0, nan, nan, nan])}, labels)
    {'a': Interval(mean=0.5, low=0.0, high=1.0), 'b': Interval(mean=1.0, low=nan, high=nan)}

    values: (n,) each, nan for a query that does not count, such as one that has nothing to find. A class none of whose
    queries counts is not drawn for that mean; means that the same queries count for share their draws.
    """
    found: dict[str, Interval] = {}
    alike: dict[bytes, list[str]] = {}  # names of means over the same queries
    for name, column in values.items():
        _check(column, labels, confidence)
        alike.setdefault(column.isnan().numpy().tobytes(), []).append(name)
    for names in alike.values():
        counted = ~values[names[0]].isnan()
        parts = [_by_class(values[name][counted], labels[counted], confidence) for name in names]
        sums, counts = np.stack([part[0] for part in parts], 1), parts[0][1]
        means = np.concatenate([(w @ sums) / (w @ counts)[:, None] for w in class_draws(len(counts), draws, seed)])
        for name, own, column in zip(names, sums.T, means.T, strict=True):
            found[name] = percentile_interval(float(own.sum() / counts.sum()), column, confidence, len(counts))
    return {name: found[name] for name in values}


def class_draws(num_classes: int, draws: int, seed: int, *, chunk: int = 2**21) -> Iterator[npt.NDArray[np.int64]]:
    """Yield how often each class is drawn in each of `draws` draws of as many with replacement: (some, num_classes).

    >>> [part.sum(1).tolist() for part in class_draws(5, 3, 0, chunk=10)]
    [[5, 5], [5]]

    chunk: numbers in a part at most; it decides memory, not the draws.
    """
    generator, left, size = np.random.default_rng(seed), draws, max(1, chunk // num_classes)
    share = np.full(num_classes, 1 / num_classes)
    while left:
        yield generator.multinomial(num_classes, share, size=min(size, left))
        left -= min(size, left)


def percentile_interval(mean: float, drawn: Floats, confidence: float, num_classes: int) -> Interval:
    """The percentile interval of values (draws,), without those that are nan; nan for fewer than two classes."""
    kept = drawn[~np.isnan(drawn)]
    if num_classes < 2 or not len(kept):
        return Interval(mean, float("nan"), float("nan"))
    low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))


def class_t_interval(values: Tensor, labels: Tensor, *, confidence: float = 0.95) -> Interval:
    """As `class_interval`, by Student's t with as many degrees of freedom as there are classes, less one.

    >>> class_t_interval(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0, 1, 2]))
    Interval(mean=1.0, low=-1.48..., high=3.48...)

    The error is that of a ratio of sums over classes: sqrt(C / (C - 1) sum_c (s_c - mean n_c)^2) / n (Cochran 1977,
    section 9A).
    """
    sums, counts = _by_class(values, labels, confidence)
    num, mean = len(counts), float(sums.sum() / counts.sum())
    if num < 2:
        return Interval(mean, float("nan"), float("nan"))
    error = np.sqrt(num / (num - 1) * np.square(sums - mean * counts).sum()) / counts.sum()
    half = student_t(confidence, num - 1) * float(error)
    return Interval(mean, mean - half, mean + half)


def _by_class(values: Tensor, labels: Tensor, confidence: float) -> tuple[Floats, Floats]:
    """Sum of the values of each class, and how many there are."""
    _check(values, labels, confidence)
    _, index = torch.unique(labels, return_inverse=True)
    counts = torch.bincount(index).double().numpy()
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, index, values.double()).numpy()
    return sums, counts


def _check(values: Tensor, labels: Tensor, confidence: float) -> None:
    if values.ndim != 1 or values.shape != labels.shape or not len(values):
        raise ValueError(f"values, labels: found shapes {tuple(values.shape)} and {tuple(labels.shape)}, expected (n,) "
                         "twice, n at least 1")  # fmt: skip
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: found {confidence}, expected a share between 0 and 1")
