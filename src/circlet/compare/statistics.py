"""Means over seeds with their uncertainty: t intervals, and differences between runs of the same seed.

The interval says how far the mean over other *seeds* may lie; it knows nothing of other data or other classes
(`significance`).
"""

import math
from collections.abc import Sequence

import numpy as np

from circlet.evaluate.intervals import Interval as Interval
from circlet.evaluate.student import student_t


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of `values` (n,), n >= 1, with Student's t interval of n - 1 degrees of freedom.

    >>> mean_interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.48..., high=4.48...)
    """
    if not len(values):
        raise ValueError("values: found none, expected at least one")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: found {confidence}, expected a share between 0 and 1")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = student_t(confidence, len(values) - 1) * error
    return Interval(mean, mean - half, mean + half)


def paired_difference(values: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of `values` - `baseline` (n, n), pair by pair: value i and baseline i come from the same seed.

    >>> paired_difference([0.5, 0.75], [0.25, 0.5])
    Interval(mean=0.25, low=0.25, high=0.25)

    What a seed does to both (an easy order of batches, say) falls out. An interval that holds 0 shows no difference.
    """
    if len(values) != len(baseline):
        raise ValueError(f"baseline: found {len(baseline)} values for {len(values)}, expected one for each")
    return mean_interval([value - other for value, other in zip(values, baseline, strict=True)], confidence=confidence)
