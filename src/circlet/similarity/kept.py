"""Kept tiles: what the forward pass leaves to the backward pass, instead of computing it twice.

They hold similarities or, in finished blocks (see `blocks`), the gradient but for a factor of each anchor. They live in
a few slabs and are used in the order in which they were made. The backward pass frees a slab when it has used it up
(and computes its tiles anew if it is asked a second time), so the memory goes over, slab by slab, to the gradient that
is being written. So nobody but the two passes may look at a slab. Its size is above the one from which malloc gives
every block back to the system.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.blocks import Tile

SLAB_BYTES = 33 * 2**20
SMALL = 2.0**-40  # a gradient that would leave nothing of the factors of finished blocks


class Kept(NamedTuple):
    """Flat tensors, and the finished blocks with their shifts."""

    slabs: list[Tensor]
    finished: dict[Tile, int]


class KeptTiles:
    """Hands out the tiles of `kept` one after another.

    release: free a slab that is used up. arrived: the gradient of the log-sum-exps; if it is small, none is handed out.
    """

    def __init__(self, kept: Kept, *, release: bool = False, arrived: Tensor | None = None) -> None:
        self._slabs = list(kept.slabs)
        self._used = 0
        self._release = release
        if kept.finished and arrived is not None and not float(arrived.abs().amax()) > SMALL:
            self.finish()

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


def new_kept(like: Tensor, dtype: torch.dtype, pairs: int, keep_bytes: int) -> Kept:
    """Empty slabs for at most `keep_bytes` of a loss over so many pairs."""
    left = min(keep_bytes // dtype.itemsize, pairs)
    slabs = []
    while left > 0:
        size = min(left, SLAB_BYTES // dtype.itemsize)
        slabs.append(torch.empty(size, dtype=dtype, device=like.device))
        left -= size
    return Kept(slabs, {})
