"""Images on both sides of a split that look the same to an embedding: a quick look, without their pixels.

`circlet.curate.duplicates` is sure of it, and takes longer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity import unit_rows

# Cosine of pooled features. With EfficientNet-Lite0 and photographs of goods: 0.97 after saving as JPEG of quality 70
# (median), at most 0.92 for any two photographs of different classes.
SAME = 0.97
_BLOCK = 4096


class Alike(NamedTuple):
    """Rows of two sets, and how similar they are."""

    first: int
    second: int
    similarity: float


def near_duplicates(first: Tensor, second: Tensor, threshold: float = SAME) -> list[Alike]:
    """For each row of `second` (m, dim) its nearest in `first` (n, dim), where the cosine is `threshold` or more.

    >>> near_duplicates(torch.eye(3), torch.tensor([[0.0, 2.0, 0.0], [1.0, 1.0, 0.0]]))
    [Alike(first=1, second=0, similarity=1.0)]
    """
    rows = unit_rows(first.float())
    found = []
    for start in range(0, len(second), _BLOCK):
        block = unit_rows(second[start : start + _BLOCK].float())
        best = torch.full((len(block),), -1.0)
        index = torch.zeros(len(block), dtype=torch.int64)
        for begin in range(0, len(rows), _BLOCK):
            values, places = (block @ rows[begin : begin + _BLOCK].T).max(1)
            index = torch.where(values > best, places + begin, index)
            best = torch.maximum(best, values)
        for row in (best >= threshold).nonzero()[:, 0].tolist():
            found.append(Alike(int(index[row]), start + row, round(float(best[row]), 4)))
    return found


def told(found: Sequence[Alike], first: Sequence[str], second: Sequence[str]) -> str:
    """A sentence about near-duplicates between training and test images, named by `first` and `second`."""
    worst = max(found, key=lambda pair: pair.similarity)
    return (f"{len(found)} test images look the same as training images (cosine of the frozen network's features of "
            f"{SAME} or more), such as {second[worst.second]} and {first[worst.first]} ({worst.similarity:.3f}): "
            "figures of the test may be too good")  # fmt: skip
