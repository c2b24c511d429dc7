"""Kept tiles: similarities that the forward pass leaves to the backward pass, instead of computing them twice.

They live in slabs and are read in the order in which they were written. The backward pass gives a slab back when it
has read it (and computes the tiles anew if it is asked a second time), so that the memory goes over, slab by slab, to
the gradient that is being written. A slab that was the only one stays for the next loss: memory that comes from the
system, page by page, would cost a twentieth of that loss's time.
"""

import torch
from torch import Tensor

SLAB_BYTES = 40 * 2**20  # more than malloc keeps for itself: what is given back is the system's

_spare: list[Tensor] = []  # the slab of an earlier loss, on a CPU in fp32


class KeptTiles:
    """The places of the tiles of one loss, one after another: at most `keep_bytes` for so many pairs.

    like: a tensor on the device of the tiles.
    """

    def __init__(self, like: Tensor, dtype: torch.dtype, pairs: int, keep_bytes: int) -> None:
        most = SLAB_BYTES // dtype.itemsize
        numbers = min(keep_bytes // dtype.itemsize, pairs)
        self._sizes = [min(numbers - start, most) for start in range(0, numbers, most)]
        self._slabs = [_slab(size, dtype, like.device) for size in self._sizes]
        self._stays = len(self._slabs) == 1 and dtype == torch.float32 and like.device.type == "cpu"
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


def _slab(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if dtype == torch.float32 and device.type == "cpu":
        try:
            spare = _spare.pop()
        except IndexError:  # there is none, or another thread has it
            pass
        else:
            if spare.numel() >= size:
                return spare
    return torch.empty(size, dtype=dtype, device=device)
