"""Kept tiles: similarities that the forward pass leaves to the backward pass, instead of computing them twice.

They live in a few slabs and are used in the order in which they were made. The backward pass frees a slab when it
has used it up (and computes its tiles anew if it is asked a second time), so the memory goes over, slab by slab, to
the gradient that is being written. So nobody but the two passes may look at a slab. Its size is above the one from
which malloc gives every block back to the system.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SLAB_BYTES = 33 * 2**20


class KeptTiles:
    """Hands out the tiles of `slabs` (flat tensors) one after another."""

    def __init__(self, slabs: Sequence[Tensor], *, release: bool = False) -> None:
        self._slabs = list(slabs)
        self._used = 0
        self._release = release

    def take(self, rows: int, columns: int) -> Tensor | None:
        """The place of the next tile (rows, columns); None if it is not kept, or no more."""
        size = rows * columns
        while self._slabs and self._used + size > self._slabs[0].numel():
            slab = self._slabs.pop(0)
            if self._release:
                slab.untyped_storage().resize_(0)
            self._used = 0
        if not self._slabs:
            return None
        slab, start = self._slabs[0], self._used
        self._used += size
        if slab.untyped_storage().nbytes() == 0:
            return None
        return slab[start : start + size].view(rows, columns)

    def finish(self) -> None:
        """Free what is left."""
        if self._release:
            for slab in self._slabs:
                slab.untyped_storage().resize_(0)
        self._slabs = []


def new_slabs(like: Tensor, dtype: torch.dtype, pairs: int, keep_bytes: int) -> list[Tensor]:
    """Empty slabs for at most `keep_bytes` of a loss over so many pairs."""
    left = min(keep_bytes // dtype.itemsize, pairs)
    slabs = []
    while left > 0:
        size = min(left, SLAB_BYTES // dtype.itemsize)
        slabs.append(torch.empty(size, dtype=dtype, device=like.device))
        left -= size
    return slabs
