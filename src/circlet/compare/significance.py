"""Whether one embedding is better than another on classes like those of the test: paired by class, Holm-corrected.

The test is Fisher's randomisation test of the mean: if two embeddings were alike, each class's difference could as well
have the other sign. Of the usual paired tests it asks the least (no normal distribution, as Student's does) and is
about the very mean that the tables show, which Wilcoxon's, on ranks, is not; Smucker, Allan and Carterette (CIKM 2007)
recommend it, or Student's, for average precision, and advise against Wilcoxon's. Seeds of the training are averaged
before; how far they differ is another question (`statistics`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from circlet.compare.classes import ClassValues
from circlet.evaluate.intervals import Interval, class_interval

LEVEL = 0.05  # a corrected p-value below it is taken for a real difference
EXACT, DRAWS, BLOCK = 13, 10_000, 500


class Difference(NamedTuple):
    """Mean difference of MAP@R over all queries, with its 95 % interval over classes; p-values before and after Holm's
    correction for all the comparisons that were made beside this one.
    """

    interval: Interval
    p_value: float
    corrected: float

    @property
    def is_real(self) -> bool:
        """By its corrected p-value, and by its interval."""
        return self.corrected < LEVEL and (self.interval.low > 0 or self.interval.high < 0)


def mean_over_seeds(runs: Sequence[ClassValues]) -> ClassValues:
    """The mean of several runs, class by class; those of a class that not all have are left out."""
    names = [name for name in runs[0] if all(name in run for run in runs)] if runs else []
    means = {metric: {name: float(np.mean([run[name][metric] for run in runs])) for name in names}
             for metric in ("map@r", "recall@1", "queries")}  # fmt: skip
    return {name: {metric: means[metric][name] for metric in means} for name in names}


def differences(
    found: Mapping[str, ClassValues], reference: ClassValues, metric: str = "map@r"
) -> dict[str, Difference]:
    """Of each of `found` to `reference`, over the classes of both; corrected for their number.

    Those without any class of `reference` are left out.
    """
    shared = {label: [name for name in values if name in reference] for label, values in found.items()}
    intervals, p_values = {}, {}
    for label, names in shared.items():
        if not names:
            continue
        per_class = np.array([found[label][name][metric] - reference[name][metric] for name in names])
        counts = np.array([round(reference[name]["queries"]) for name in names])
        labels = torch.arange(len(names)).repeat_interleave(torch.from_numpy(counts))
        intervals[label] = class_interval(torch.from_numpy(per_class)[labels], labels)
        p_values[label] = randomization_test(per_class * counts)
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return {label: Difference(intervals[label], p_values[label], corrected[label]) for label in intervals}


def randomization_test(values: npt.NDArray[np.float64], *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p-value of the sum of paired differences `values` (n,), n >= 1, under random signs.

    >>> randomization_test(np.array([1.0, 2.0, 3.0]))
    0.25

    All 2^n signs up to n = 13, else so many drawn at random, the given ones counted among them (Phipson, Smyth 2010).
    """
    if values.ndim != 1 or not len(values):
        raise ValueError(f"values: found shape {values.shape}, expected (n,), n at least 1")
    least = abs(values.sum()) - 1e-9 * np.abs(values).sum()  # equal sums differ by rounding
    if len(values) <= EXACT:
        signs = 1.0 - 2.0 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
        return float(np.mean(np.abs(signs @ values) >= least))
    generator, beyond = np.random.default_rng(seed), 0
    for first in range(0, draws, BLOCK):
        signs = 2.0 * generator.integers(0, 2, (min(BLOCK, draws - first), len(values)), dtype=np.int8) - 1
        beyond += int(np.sum(np.abs(signs @ values) >= least))
    return (1 + beyond) / (1 + draws)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Whoever takes those below .05 for real errs at all, in any of them, once in twenty times at most.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p_values: found {list(p_values)}, expected numbers from 0 to 1")
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = largest
    return corrected
