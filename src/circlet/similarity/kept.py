"""Kept tiles: similarities that the forward pass leaves to the backward pass, instead of computing them twice.

They lie one after another in one piece of memory. That of a loss on references is where their gradient will be, which
then costs no memory more; else it is a piece of its own, which stays for the next loss: memory that comes from the
system, page by page, costs a twentieth of a loss's time. The backward pass reads them once, and computes them anew if
it is asked again.
"""

import torch
from torch import Tensor

from circlet.similarity.blocks import tile_of

_spare: list[Tensor] = []  # the memory of an earlier loss, on a CPU in fp32


class KeptTiles:
    """Places of tiles in flat `memory`; None: there are none. stays: for the next loss, when they have been read."""

    def __init__(self, memory: Tensor | None, *, stays: bool = False) -> None:
        self.memory, self._stays = memory, stays

    @classmethod
    def of_its_own(cls, like: Tensor, dtype: torch.dtype, pairs: int, keep_bytes: int) -> "KeptTiles":
        """At most `keep_bytes` of those of so many pairs, on the device of `like`."""
        size = min(keep_bytes // dtype.itemsize, pairs)
        if size == 0:
            return cls(None)
        stays = dtype == torch.float32 and like.device.type == "cpu"
        return cls(_spare_of(size) if stays else like.new_empty(size, dtype=dtype), stays=stays)

    def place(self, start: int, rows: int, columns: int) -> Tensor | None:
        """That of the tile (rows, columns) before which `start` numbers are; None if it is not kept."""
        if self.memory is None or start + rows * columns > self.memory.numel():
            return None
        return tile_of(self.memory[start:], rows, columns)

    def read(self) -> "KeptTiles":
        """The same for the backward pass; here there are none from now on."""
        read = KeptTiles(self.memory, stays=self._stays)
        self.memory = None
        return read

    def finish(self) -> None:
        """Nobody will ask again."""
        if self._stays and self.memory is not None and not _spare:
            _spare.append(self.memory)
        self.memory = None


def clear() -> None:
    """Give back what stays."""
    _spare.clear()


def _spare_of(size: int) -> Tensor:
    try:
        spare = _spare.pop()
    except IndexError:  # there is none, or another thread has it
        spare = _empty(0)
    return spare if spare.numel() >= size else _empty(size)


def _empty(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.float32, device="cpu")
