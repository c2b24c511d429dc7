"""Kept tiles: similarities that the forward pass leaves to the backward pass, instead of computing them twice.

They live in slabs and are read in the order in which they were written. The backward pass gives a slab back when it
has read it (and computes the tiles anew if it is asked a second time), so that the memory goes over, slab by slab, to
the gradient that is being written. Where that is small, there is one slab, which stays for the next loss: memory that
comes from the system, page by page, would cost a twentieth of that loss's time.
"""

import torch
from torch import Tensor

SLAB_BYTES = 33 * 2**20  # more than malloc keeps for itself: what is given back is the system's

_spare: list[Tensor] = []  # the slab of an earlier loss, on a CPU in fp32


class KeptTiles:
    """The places of the tiles of one loss, one after another: at most `keep_bytes` for so many pairs.

    like: a tensor on the device of the tiles. stays: they are in one slab, which stays for the next loss.
    """

    def __init__(self, like: Tensor, dtype: torch.dtype, pairs: int, keep_bytes: int, *, stays: bool = False) -> None:
        numbers = min(keep_bytes // dtype.itemsize, pairs)
        most = max(numbers, 1) if stays else SLAB_BYTES // dtype.itemsize
        self._stays = stays and dtype == torch.float32 and like.device.type == "cpu"
        self._sizes = [min(numbers - start, most) for start in range(0, numbers, most)]
        slab = _slab if self._stays else like.new_empty
        self._slabs = [slab(size, dtype=dtype) for size in self._sizes]
        self._at = self._used = 0
        self._is_read = False

    def take(self, rows: int, columns: int) -> Tensor | None:
        """The place of the next tile (rows, columns); None if it is not kept, or no more."""
        size = rows * columns
        while self._at < len(self._slabs) and self._used + size > self._sizes[self._at]:
            self._used = 0
            if self._is_read:
                self._give_back()
            else:
                self._at += 1
        if self._at == len(self._slabs):
            return None
        start = self._used
        self._used += size
        return self._slabs[self._at][start : start + size].view(rows, columns)

    def read(self) -> "KeptTiles":
        """From the first one on, each for the last time: when this is asked again, there are none."""
        if self._is_read:
            self.finish()
        self._is_read = True
        self._at = self._used = 0
        return self

    def finish(self) -> None:
        """Give back what is left."""
        while self._slabs:
            self._give_back()

    def _give_back(self) -> None:
        del self._sizes[0]
        slab = self._slabs.pop(0)
        if self._stays and not _spare:
            _spare.append(slab)


def clear() -> None:
    """Give back what stays."""
    _spare.clear()


def _slab(size: int, dtype: torch.dtype) -> Tensor:
    try:
        spare = _spare.pop()
    except IndexError:  # there is none, or another thread has it
        return torch.empty(size, dtype=dtype)
    return spare if spare.numel() >= size else torch.empty(size, dtype=dtype)
