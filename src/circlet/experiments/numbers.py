"""Numbers that no setting may have, whatever it means: they would fail, or spoil the result, once the run is under way.

Which others a setting may not have, its own dataclass says, and a loss of its hyper-parameters.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

MOST = 3.4e38  # of fp32, in which a run computes
MOST_WHOLE = 2**63 - 1


def check_numbers(settings: Any) -> None:
    """ValueError that names a setting of nested dataclasses which is not finite in fp32, or no whole number of 64 bits.

    >>> from circlet.training import OptimizerConfig
    >>> check_numbers(OptimizerConfig(weight_decay=float("inf")))
    Traceback (most recent call last):
    ValueError: weight_decay: found inf, expected a finite number
    """
    for name, value in _numbers(settings, ""):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}: found {value}, expected a finite number")
        most = MOST if isinstance(value, float) else MOST_WHOLE
        if abs(value) > most:
            raise ValueError(f"{name}: found {value}, expected at most {most:g} either way")


def _numbers(value: Any, name: str) -> Iterator[tuple[str, int | float]]:
    """Each number with the name of its setting; of the pairs (name, number) that a loss has, with that of the pair."""
    if is_dataclass(value):
        for each in fields(value):
            yield from _numbers(getattr(value, each.name), f"{name}.{each.name}" if name else each.name)
    elif isinstance(value, tuple):
        for item in value:
            if isinstance(item, tuple) and item and isinstance(item[0], str):
                yield from _numbers(item[1:], f"{name.rpartition('.')[0]}.{item[0]}")
            else:
                yield from _numbers(item, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value
