r"""Blocks: the elementwise part, on a piece of a similarity tile that fits into the cache.

Forward, each block adds its log-sum-exps to those of its anchors. Backward, it becomes the gradient with respect to
its similarities, where A_i is the gradient arriving at the log-sum-exp of anchor i (w_i Z_i for the unified loss):

    G_ij = slope(s_ij) A_i exp(e_ij - lse_i).

In the symmetric form the columns are anchors too, and the block stands for its mirror image as well:

    H_ij = slope(s_ij) [A_i exp(e_ij - lse_i) + A_j exp(e_ij - lse_j)].
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.curves import Curve, Curves, logsumexp, rate
from circlet.similarity.kinds import Kinds

BLOCK = 524288  # elements; measured: larger than a cache would like, as each operation costs microseconds to start
DIAGONAL = 256


class Tile(NamedTuple):
    """Rows [a, b) of the anchors and columns [c, d) of the references."""

    a: int
    b: int
    c: int
    d: int

    def blocks(self, kinds: Kinds) -> Iterator["Tile"]:
        """Column blocks of about `BLOCK` elements; on the diagonal narrow ones, of which less is mixed."""
        diagonal = kinds.own and self.a < self.d and self.c < self.b
        width = DIAGONAL if diagonal else max(64, BLOCK // (self.b - self.a))
        for c in range(self.c, self.d, width):
            yield self._replace(c=c, d=min(c + width, self.d))


class Scratch:
    """Three buffers of a block each, used again and again: new memory would cost more than the arithmetic."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.device = device
        self._buffers = [torch.empty(BLOCK, dtype=dtype, device=device) for _ in range(3)]

    def like(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Contiguous buffers of the shape of block `s`."""
        rows, columns = s.shape
        if rows * columns > self._buffers[0].numel():
            self._buffers = [buffer.new_empty(rows * columns) for buffer in self._buffers]
        first, second, third = (buffer[: rows * columns].view(rows, columns) for buffer in self._buffers)
        return first, second, third


class Sums:
    """Forward: running log-sum-exps of all anchors, (batch,) in fp64, so that the tiles add up without rounding."""

    def __init__(self, batch: int, scratch: Scratch, curves: Curves, kinds: Kinds) -> None:
        self.pos = torch.full((batch,), -torch.inf, dtype=torch.float64, device=scratch.device)
        self.neg = self.pos.clone()
        self._scratch, self._curves, self._kinds = scratch, curves, kinds

    def result(self) -> Tensor:
        """(2, batch) log-sum-exps of the positives and of the negatives."""
        return torch.stack([self.pos, self.neg])

    def add(self, s: Tensor, tile: Tile, *, mirrored: bool) -> None:
        """Add a tile of similarities to its rows and, if mirrored, to its columns (which are anchors too)."""
        for a, b, c, d in tile.blocks(self._kinds):
            for start, stop, mixed in self._kinds.split(a, b, c, d):
                block = s[start - tile.a : stop - tile.a, c - tile.c : d - tile.c]
                buffers = self._scratch.like(block)
                sides: list[tuple[Tensor, Curve, Tensor | None]] = [(self.neg, self._curves.neg, None)]
                if mixed:
                    positive, negative = self._kinds.masks(start, stop, c, d)
                    sides = [(self.pos, self._curves.pos, positive), (self.neg, self._curves.neg, negative)]
                for total, curve, mask in sides:
                    q = curve.q(block, buffers[0])
                    if mask is not None:
                        q = torch.where(mask, q, -torch.inf)
                    _add(total[start:stop], logsumexp(q, 1, curve, buffers[1]))
                    if mirrored:
                        _add(total[c:d], logsumexp(q, 0, curve, buffers[1]))


def _add(total: Tensor, part: Tensor) -> None:
    torch.logaddexp(total, part, out=total)


class Side(NamedTuple):
    """Backward, of one side (positive or negative): A exp(logit - lse) = factor 2^(rate q + shift), per anchor.

    The shift is a whole number, which fp32 holds exactly; what is left of lse is in the factor. At a loss of hundreds
    a rounded shift would cost two digits.
    """

    curve: Curve
    rate: float
    shift: Tensor
    factor: Tensor

    @classmethod
    def of(cls, curve: Curve, lse: Tensor, grad: Tensor, dtype: torch.dtype) -> "Side":
        """From lse (batch,) in fp64 and the gradient A (batch,) arriving there; `dtype` of the computation."""
        factor = rate(curve, dtype)
        exponent = (curve.offset - lse) * (factor / curve.scale)
        shift = exponent.floor()
        scale = (exponent - shift).exp2() * grad.double() * curve.scale
        return cls(curve, factor, shift.to(dtype), scale.to(dtype))

    def write(self, out: Tensor, s: Tensor, rows: slice, columns: slice | None, scratch: Scratch) -> None:
        """G of block `s` into `out` (which may be `s`); H if the columns are anchors too.

        Without meaning where the block has no pairs of this side.
        """
        first, second, third = scratch.like(s)
        q, bend = self.curve.q_and_bend(s, (first, second))
        if columns is not None:
            torch.add(self.shift[columns], q, alpha=self.rate, out=third).exp2_()
        torch.add(self.shift[rows, None], q, alpha=self.rate, out=out).exp2_().mul_(self.factor[rows, None])
        if columns is not None:
            out.addcmul_(third, self.factor[columns])
        if bend is not None:
            out.mul_(bend)


class Gradient:
    """Backward: from tiles of similarities to the gradient with respect to them."""

    def __init__(self, lse: Tensor, grads: Tensor, scratch: Scratch, curves: Curves, kinds: Kinds) -> None:
        """lse: (2, batch) in fp64, and `grads` (2, batch) arriving there, of the positives and of the negatives."""
        dtype = grads.dtype
        self._pos = Side.of(curves.pos, lse[0], grads[0], dtype)
        self._neg = Side.of(curves.neg, lse[1], grads[1], dtype)
        self._scratch, self._kinds = scratch, kinds

    def write(self, out: Tensor, s: Tensor, tile: Tile, *, mirrored: bool) -> None:
        """Gradient of tile `s` into `out` (which may be `s`)."""
        for a, b, c, d in tile.blocks(self._kinds):
            columns = slice(c, d) if mirrored else None
            for start, stop, mixed in self._kinds.split(a, b, c, d):
                place = slice(start - tile.a, stop - tile.a), slice(c - tile.c, d - tile.c)
                block, rows = s[place], slice(start, stop)
                if not mixed:
                    self._neg.write(out[place], block, rows, columns, self._scratch)
                    continue
                positive, negative = self._kinds.masks(start, stop, c, d)
                toward = torch.empty_like(block)
                self._pos.write(toward, block, rows, columns, self._scratch)
                self._neg.write(out[place], block, rows, columns, self._scratch)
                out[place].masked_fill_(~negative, 0.0).add_(toward.masked_fill_(~positive, 0.0))
