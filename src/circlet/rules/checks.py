"""Checks of a rule's numbers: a ValueError names the number, what it is, and what was expected."""

import math


def check_scale(name: str, value: float) -> None:
    """A finite number above 0."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: found {value}, expected a finite number > 0")


def check_finite(name: str, value: float) -> None:
    """A finite number."""
    if not math.isfinite(value):
        raise ValueError(f"{name}: found {value}, expected a finite number")
