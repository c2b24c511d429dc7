"""Tiles and blocks: how large a tile of similarities is, and the pieces of it that fit into the cache.

What is done with a block is in `sums` (forward) and `gradients` (backward).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.native import native
from circlet.similarity.positives import Positives

BLOCK = 524288  # elements; measured: larger than a cache would like, as each operation costs microseconds to start
GPU_BLOCK = 2**23
DIAGONAL = 256


class Tiling(NamedTuple):
    """Rows and columns of a tile, and how many bytes of tiles the forward pass may keep for the backward pass.

    Where the gradient of the references will be, as many as fit are kept, unless there are to be none.
    """

    height: int = 512
    width: int = 1024
    keep_bytes: int = 40 * 2**20


GPU_TILING = Tiling(2048, 4096, 0)  # on an H100 a step from tile to tile costs as much as 8 million pairs
PAIRS, NUMBERS = 2**19, 2**21  # of a tile, and in its references


def tiling_of(x: Tensor) -> Tiling:
    """The tiles that suit x (batch, dim) and its device."""
    return cpu_tiling(*x.shape) if x.device.type == "cpu" else GPU_TILING


def cpu_tiling(batch: int, dim: int) -> Tiling:
    """The tiles of half a million pairs (2 MiB in fp32) that two cores like best for their products.

    >>> [cpu_tiling(batch, dim)[:2] for batch, dim in ((4096, 512), (128, 512), (64, 2048))]
    [(512, 1024), (128, 4096), (64, 1024)]

    Those of a small batch are wider, as long as their references stay within 8 MiB.
    """
    usual = Tiling()
    rows = min(max(batch, 1), usual.height)
    return Tiling(rows, max(usual.width, min(PAIRS // rows, NUMBERS // max(dim, 1))))


class Tile(NamedTuple):
    """Rows [a, b) of the anchors and columns [c, d) of the references."""

    a: int
    b: int
    c: int
    d: int

    def blocks(self, positives: Positives, size: int = BLOCK) -> Iterator["Tile"]:
        """Column blocks of about `size` elements; on the diagonal narrow ones, if of these less is mixed."""
        diagonal = positives.own and not positives.few and self.a < self.d and self.c < self.b
        width = DIAGONAL if diagonal and size == BLOCK else max(64, size // (self.b - self.a))
        for c in range(self.c, self.d, width):
            yield self._replace(c=c, d=min(c + width, self.d))


def tile_of(memory: Tensor, rows: int, columns: int) -> Tensor:
    """The beginning of flat memory as a tile."""
    return memory[: rows * columns].view(rows, columns)


class Scratch:
    """Three buffers of a block each, used again and again: new memory would cost more than the arithmetic.

    `size` of a block. `looks`: whether the numbers of one may be looked at, to choose a shorter way for the next step;
    on a GPU that would wait for it. `native`: what does a block in one pass, or None.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.native = native(dtype, device)
        self.looks = device.type == "cpu"
        self.size = BLOCK if self.looks else GPU_BLOCK
        self._buffers = [torch.empty(BLOCK, dtype=dtype, device=device) for _ in range(3)]

    def like(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Contiguous buffers of the shape of block `s`."""
        rows, columns = s.shape
        if rows * columns > self._buffers[0].numel():
            self._buffers = [buffer.new_empty(rows * columns) for buffer in self._buffers]
        first, second, third = (buffer[: rows * columns].view(rows, columns) for buffer in self._buffers)
        return first, second, third
