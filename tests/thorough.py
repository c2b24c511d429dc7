"""What the suite tries of a product of cases; all of it by hand: make thorough, or CIRCLET_THOROUGH=1.

Where the dimensions are handled by different code, a defect shows in one value of one of them, whatever the other is:
the suite then tries each value of each, not each pair of values.
"""

import os
from collections.abc import Collection
from itertools import product
from typing import Any

THOROUGH = bool(os.environ.get("CIRCLET_THOROUGH"))


def in_turn(*dimensions: Collection[Any]) -> list[tuple[Any, ...]]:
    """Cases in which each value of each dimension is met, with one or another of the others; all cases where asked for.

    in_turn("abcd", [1, 2]) is ("a", 1), ("b", 2), ("c", 1), ("d", 2).
    """
    if THOROUGH:
        return list(product(*dimensions))
    lists = [list(values) for values in dimensions]
    return [tuple(values[i % len(values)] for values in lists) for i in range(max(map(len, lists)))]
