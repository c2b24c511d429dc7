"""Images on both sides of a split that look the same to an embedding: a quick look, without their pixels.

`circlet.curate.duplicates` is sure of it, and takes longer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from circlet.evaluate.neighbours import best_by_tiles
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

    >>> import torch
    >>> near_duplicates(torch.eye(3), torch.tensor([[0.0, 2.0, 0.0], [1.0, 1.0, 0.0]]))
    [Alike(first=1, second=0, similarity=1.0)]
    """
    found = []
    for block, best in best_by_tiles(unit_rows(second.float()), unit_rows(first.float()), 1, _BLOCK):
        for row in (best.values[:, 0] >= threshold).nonzero()[:, 0].tolist():
            similarity = round(float(best.values[row, 0]), 4)
            found.append(Alike(int(best.indices[row, 0]), block.start + row, similarity))
    return found


def told(found: Sequence[Alike], first: Sequence[str], second: Sequence[str], *, of_vectors: bool = False) -> str:
    """A sentence about near-duplicates between training and test images, named by `first` and `second`.

    of_vectors: of vectors that were given instead.
    """
    worst = max(found, key=lambda pair: pair.similarity)
    if of_vectors:
        same = "test vectors are almost those of training (cosine of"
    else:
        same = "test images look the same as training images (cosine of the frozen network's features of"
    return (f"{len(found)} {same} {SAME} or more), such as {second[worst.second]} and {first[worst.first]} "
            f"({worst.similarity:.3f}): figures of the test may be too good")  # fmt: skip
