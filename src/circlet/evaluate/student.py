"""How far Student's t lies from 0 with a given probability: half of an interval, in standard errors.

By the finite sums of Abramowitz and Stegun (26.7.3, 26.7.4), which are exact for whole degrees of freedom; so nobody
installs SciPy, of twice the size of all else here, for one number.
"""

import math
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def student_t(confidence: float, degrees: int) -> float:
    """The t > 0 with P(|T| <= t) = `confidence`, above 0 and below 1, for `degrees` of freedom, at least 1.

    >>> round(student_t(0.95, 2), 6), round(student_t(0.95, 10_000), 6)
    (4.302653, 1.960201)

    ValueError for others.
    """
    if not 0 < confidence < 1 or degrees < 1:
        raise ValueError(f"confidence, degrees: found {confidence} and {degrees}, expected a share between 0 and 1, "
                         "and at least 1")  # fmt: skip
    # P(|T| <= t) in theta = atan(t / sqrt(degrees)): a polynomial in cos^2, one factor more a term.
    odd = degrees % 2
    steps = np.arange(1, (degrees - 1 - odd) // 2 + 1, dtype=np.float64)
    factors = 2 * steps / (2 * steps + 1) if odd else (2 * steps - 1) / (2 * steps)

    def within(theta: float) -> float:
        cosine = math.cos(theta)
        if odd and degrees == 1:
            return 2 * theta / math.pi
        total = 1 + float(np.cumprod(factors * cosine**2).sum())
        return 2 / math.pi * (theta + math.sin(theta) * cosine * total) if odd else math.sin(theta) * total

    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if within(middle) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)
