r"""Blocks: the elementwise part, on a piece of a similarity tile that fits into the cache.

Forward, each block adds its log-sum-exps to those of its anchors. Backward, it becomes the gradient with respect to
its similarities, where A_i is the gradient arriving at the log-sum-exp of anchor i (w_i Z_i for the unified loss):

    G_ij = slope(s_ij) A_i exp(e_ij - lse_i).

In the symmetric form the columns are anchors too, and the block stands for its mirror image as well:

    H_ij = slope(s_ij) [A_i exp(e_ij - lse_i) + A_j exp(e_ij - lse_j)].
"""

from collections.abc import Iterator
from functools import partial
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.exponentials import logsumexp, rate
from circlet.similarity.native import Exponent, Factors, native
from circlet.similarity.positives import Holes, Positives
from circlet.similarity.short_form import ShortForm, Sides

BLOCK = 524288  # elements; measured: larger than a cache would like, as each operation costs microseconds to start
GPU_BLOCK = 2**23
DIAGONAL = 256


class Tiling(NamedTuple):
    """Rows and columns of a tile, and how many bytes of tiles the forward pass may keep for the backward pass."""

    height: int = 512
    width: int = 1024
    keep_bytes: int = 20 * 2**20


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


class Scratch:
    """Three buffers of a block each, used again and again: new memory would cost more than the arithmetic.

    `size` of a block. `looks`: whether the numbers of one may be looked at, to choose a shorter way for the next step;
    on a GPU that would wait for it. `native`: what does a block in one pass, or None.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.device = device
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


class Sums:
    """Forward: running log-sum-exps of all anchors, (batch,) in fp64, so that the tiles add up without rounding."""

    def __init__(self, batch: int, scratch: Scratch, sides: Sides, positives: Positives) -> None:
        self.pos = torch.full((batch,), -torch.inf, dtype=torch.float64, device=scratch.device)
        self.neg = self.pos.clone()
        self._scratch, self._sides, self._positives = scratch, sides, positives
        self._shift = 0
        self._near: Tensor | None = None

    def result(self) -> Tensor:
        """(2, batch) log-sum-exps of the positives and of the negatives."""
        if self._near is not None:
            rows, _, positive, _ = self._positives.all_holes
            side, buffer = self._sides.pos, torch.empty_like(self._near)
            q = torch.where(positive, side.affine(self._near, 1.0, None, buffer), -torch.inf)
            self.pos[rows] = logsumexp(q, 1, side, buffer)
        return torch.stack([self.pos, self.neg])

    def add(self, s: Tensor, tile: Tile, *, mirrored: bool) -> None:
        """Add a tile of similarities to its rows and, if mirrored, to its columns (which are anchors too)."""
        for a, b, c, d in tile.blocks(self._positives, self._scratch.size):
            for first, last, masks, holes in self._positives.pieces(a, b, c, d):
                block = s[first - tile.a : last - tile.a, c - tile.c : d - tile.c]
                rows, columns = slice(first, last), slice(c, d) if mirrored else None
                if holes is not None:
                    self._add_positives(block, holes)
                    if mirrored:
                        self._add_positives(block.T, self._positives.holes(c, d, first, last))
                if masks or not self._scratch.looks or not self._add_plain(block, rows, columns, holes):
                    self._add_any(block, rows, columns, masks, holes)

    def _add_positives(self, block: Tensor, holes: Holes | None) -> None:
        """Take the similarities of the positives out of a block; `result` adds them up."""
        assert holes is not None
        if self._near is None:
            self._near = block.new_zeros(self._positives.all_holes[1].shape)
        near = self._near[holes.slot]
        torch.where(holes.positive, block[holes.places], near, out=near)

    def _add_plain(self, block: Tensor, rows: slice, columns: slice | None, holes: Holes | None) -> bool:
        """Add a block of negatives with one exponential a pair, and one shift for all; False if that is too coarse."""
        side, kernels = self._sides.neg, self._scratch.native
        factor = rate(side, block.dtype)
        exponent = Exponent(factor, side.scale / factor, side.offset)
        if side.fused is not None and kernels is not None:
            add = partial(kernels.add, block, side.fused, exponent, self._shift)
            totals = self.neg[rows], None if columns is None else self.neg[columns]
            if holes is None:
                return add(*totals)
            near = block[holes.places]
            block[holes.places] = -torch.inf
            added = add(*totals)
            block[holes.places] = near
            return added
        shift = block.new_tensor(self._shift)
        terms = side.affine(block, factor, shift, self._scratch.like(block)[0]).exp2_()
        if holes is not None:
            terms[holes.places] = 0.0
        sums = [terms.sum(1)] if columns is None else [terms.sum(1), terms.sum(0)]
        low, high = torch.cat(sums).aminmax()
        # What is lost below the smallest number must be nothing beside each sum.
        if not (float(low) > 2.0**-80 and float(high) < torch.inf):
            return False
        for total, place in zip(sums, (rows, columns), strict=False):
            _add(self.neg[place], (total.double().log2() - self._shift) * exponent.scale + side.offset)
        return True

    def _add_any(
        self,
        block: Tensor,
        rows: slice,
        columns: slice | None,
        masks: tuple[Tensor, Tensor] | None,
        holes: Holes | None,
    ) -> None:
        """Add a block of any kind, shifting each anchor by its own peak."""
        buffers = self._scratch.like(block)
        totals: list[tuple[Tensor, ShortForm, Tensor | None]] = [(self.neg, self._sides.neg, None)]
        if masks is not None:
            totals = [(self.pos, self._sides.pos, masks[0]), (self.neg, self._sides.neg, masks[1])]
        for total, side, mask in totals:
            q = side.affine(block, 1.0, None, buffers[0])
            if holes is not None:
                q = q.index_put(holes.places, q.new_tensor(-torch.inf))
            if mask is not None:
                q = torch.where(mask, q, -torch.inf)
            elif self._scratch.looks:
                peak = rate(side, q.dtype) * float(q.amax())
                self._shift = 90 - round(peak) if isfinite(peak) else 0  # for the next blocks
            _add(total[rows], logsumexp(q, 1, side, buffers[1]))
            if columns is not None:
                _add(total[columns], logsumexp(q, 0, side, buffers[1]))


def _add(total: Tensor, part: Tensor) -> None:
    torch.logaddexp(total, part, out=total)


class SideGradient(NamedTuple):
    """Backward, of one side (positive or negative): A exp(logit - lse) = factor 2^(rate q + shift), per anchor.

    The shift is a whole number, which fp32 holds exactly; what is left of lse is in the factor. At a loss of hundreds
    a rounded shift would cost two digits.
    """

    side: ShortForm
    rate: float
    shift: Tensor
    factor: Tensor

    @classmethod
    def of(cls, side: ShortForm, lse: Tensor, grad: Tensor, dtype: torch.dtype) -> "SideGradient":
        """From lse (batch,) in fp64 and the gradient A (batch,) arriving there; `dtype` of the computation."""
        factor = rate(side, dtype)
        exponent = (side.offset - lse) * (factor / side.scale)
        shift = exponent.floor()
        scale = (exponent - shift).exp2() * grad.double() * side.scale
        return cls(side, factor, shift.to(dtype), scale.to(dtype))

    def write(
        self, out: Tensor, s: Tensor, rows: slice | Tensor, columns: slice | Tensor | None, scratch: Scratch
    ) -> None:
        """G of block `s` into `out` (which may be `s`); H if the columns are anchors too.

        Without meaning where the block has no pairs of this side. rows, columns: those of the block; or of any pairs of
        it, (n,) and (n, K).
        """
        if isinstance(rows, slice) and not isinstance(columns, Tensor) and scratch.looks:
            if self.side.fused is not None and scratch.native is not None:
                factors = None if columns is None else self._factors(columns)
                if scratch.native.gradient(out, s, self.side.fused, self.rate, self._factors(rows), factors):
                    return
            elif columns is not None and self._write_plain(out, s, rows, columns, scratch):
                return
        first, second, third = scratch.like(s)
        q, slope = self.side.affine_and_slope(s, 1.0, None, (first, second))
        if columns is not None:
            torch.add(self.shift[columns], q, alpha=self.rate, out=third).exp2_()
        torch.add(self.shift[rows, None], q, alpha=self.rate, out=out).exp2_().mul_(self.factor[rows, None])
        if columns is not None:
            out.addcmul_(third, self.factor[columns])
        if slope is not None:
            out.mul_(slope)

    def _factors(self, anchors: slice) -> Factors:
        return Factors(self.shift[anchors], self.factor[anchors])

    def _write_plain(self, out: Tensor, s: Tensor, rows: slice, columns: slice, scratch: Scratch) -> bool:
        """H with one exponential a pair, 2^(rate q + middle) (factor_i 2^(shift_i - middle) + the same of j).

        False if the shifts are too far apart for that.
        """
        shifts = torch.cat([self.shift[rows], self.shift[columns]])
        low, high = map(float, shifts.aminmax())
        # As a logit is at most lse, rate q is at most -shift + 1.
        if not high - low < 160:
            return False
        middle = round((low + high) / 2)
        factors = (shifts - middle).exp2_() * torch.cat([self.factor[rows], self.factor[columns]])
        first, second, third = scratch.like(s)
        terms, slope = self.side.affine_and_slope(s, self.rate, shifts.new_tensor(middle), (first, second))
        both = torch.add(factors[: len(s), None], factors[len(s) :], out=third)
        torch.mul(terms.exp2_(), both, out=out)
        if slope is not None:
            out.mul_(slope)
        return True


class Gradient:
    """Backward: from tiles of similarities to the gradient with respect to them."""

    def __init__(self, lse: Tensor, grads: Tensor, scratch: Scratch, sides: Sides, positives: Positives) -> None:
        """lse: (2, batch) in fp64, and `grads` (2, batch) arriving there, of the positives and of the negatives."""
        dtype = grads.dtype
        self._pos = SideGradient.of(sides.pos, lse[0], grads[0], dtype)
        self._neg = SideGradient.of(sides.neg, lse[1], grads[1], dtype)
        self._scratch, self._positives = scratch, positives

    def write(self, out: Tensor, s: Tensor, tile: Tile, *, mirrored: bool) -> None:
        """Gradient of tile `s` into `out` (which may be `s`)."""
        for a, b, c, d in tile.blocks(self._positives, self._scratch.size):
            columns = slice(c, d) if mirrored else None
            for first, last, masks, holes in self._positives.pieces(a, b, c, d):
                place = slice(first - tile.a, last - tile.a), slice(c - tile.c, d - tile.c)
                block, rows = s[place], slice(first, last)
                if masks is not None:
                    positive, negative = masks
                    toward = torch.empty_like(block)
                    self._pos.write(toward, block, rows, columns, self._scratch)
                    self._neg.write(out[place], block, rows, columns, self._scratch)
                    out[place].masked_fill_(~negative, 0.0).add_(toward.masked_fill_(~positive, 0.0))
                    continue
                near = None if holes is None else block[holes.places]
                self._neg.write(out[place], block, rows, columns, self._scratch)
                if holes is not None and near is not None:
                    self._pos.write(near, near, holes.rows, holes.columns if mirrored else None, self._scratch)
                    out[place][holes.places] = near if holes.own is None else near.masked_fill_(holes.own, 0.0)
