r"""Backward: each block of similarities becomes the gradient with respect to them.

A_i is the gradient arriving at the log-sum-exp of anchor i (w_i Z_i for the unified loss):

    G_ij = slope(s_ij) A_i exp(e_ij - lse_i).

In the symmetric form the columns are anchors too, and the block stands for its mirror image as well:

    H_ij = slope(s_ij) [A_i exp(e_ij - lse_i) + A_j exp(e_ij - lse_j)].
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.blocks import Scratch, Tile
from circlet.similarity.exponentials import rate
from circlet.similarity.native import Arrived, Place, native
from circlet.similarity.positives import Positives
from circlet.similarity.short_form import ShortForm, Sides


class SideGradient(NamedTuple):
    """Backward, of one side (positive or negative): A exp(logit - lse) = factor 2^(rate q + shift), per anchor.

    The shift is a whole number, which fp32 holds exactly; what is left of lse is in the factor. At a loss of hundreds
    a rounded shift would cost two digits.
    """

    side: ShortForm
    rate: float
    shift: Tensor
    factor: Tensor
    arrived: Arrived | None  # the same for kernels; None: they do not take it

    @classmethod
    def of(cls, side: ShortForm, lse: Tensor, grad: Tensor, dtype: torch.dtype) -> "SideGradient":
        """From lse (batch,) in fp64 and the gradient A (batch,) arriving there; `dtype` of the computation."""
        factor = rate(side, dtype)
        exponent = (side.offset - lse) * (factor / side.scale)
        shift = exponent.floor()
        scale = (exponent - shift).exp2() * grad.double() * side.scale
        shift, scale = shift.to(dtype), scale.to(dtype)
        arrived = None
        if side.fused is not None and native(dtype, lse.device) is not None:
            arrived = Arrived(side.fused, factor, shift, scale)
        return cls(side, factor, shift, scale, arrived)

    def write(
        self, out: Tensor, s: Tensor, rows: slice | Tensor, columns: slice | Tensor | None, scratch: Scratch
    ) -> None:
        """G of block `s` into `out` (which may be `s`); H if the columns are anchors too.

        Without meaning where the block has no pairs of this side. rows, columns: those of the block; or of any pairs of
        it, (n,) and (n, K).
        """
        if isinstance(rows, slice) and not isinstance(columns, Tensor) and scratch.looks:
            if self.arrived is not None and scratch.native is not None:
                place = Place(rows.start, 0, False) if columns is None else Place(rows.start, columns.start, True)
                if scratch.native.gradient(out, s, place, self.arrived, None):
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

    def write(self, out: Tensor, s: Tensor, tile: Tile, *, mirrored: bool, scales: Tensor | None = None) -> None:
        """Gradient of tile `s` into `out` (which may be `s`).

        scales: of its columns (d - c, 1), what makes similarities of `s`; the gradient is still that of `s`.
        """
        if scales is None:
            self._write(out, s, tile, mirrored=mirrored)
        elif not self._write_by_kernel(out, s, Place(tile.a, tile.c, mirrored), scales):
            self._write(out, s * scales.T, tile, mirrored=mirrored)
            out.mul_(scales.T)

    def _write(self, out: Tensor, s: Tensor, tile: Tile, *, mirrored: bool) -> None:
        for a, b, c, d in tile.blocks(self._positives, self._scratch.size):
            whole = slice(None), slice(c - tile.c, d - tile.c)
            if self._write_by_kernel(out[whole], s[whole], Place(a, c, mirrored), None):
                continue
            columns = slice(c, d) if mirrored else None
            for first, last, masks in self._positives.pieces(a, b, c, d):
                place = slice(first - tile.a, last - tile.a), slice(c - tile.c, d - tile.c)
                block, rows = s[place], slice(first, last)
                if masks is not None:
                    positive, negative = masks
                    toward = torch.empty_like(block)
                    self._pos.write(toward, block, rows, columns, self._scratch)
                    self._neg.write(out[place], block, rows, columns, self._scratch)
                    out[place].masked_fill_(~negative, 0.0).add_(toward.masked_fill_(~positive, 0.0))
                    continue
                holes = self._positives.holes(first, last, c, d)
                if holes is None:
                    self._neg.write(out[place], block, rows, columns, self._scratch)
                    continue
                near = block[holes.places]  # before `out`, which may be `s`, is written
                self._neg.write(out[place], block, rows, columns, self._scratch)
                self._pos.write(near, near, holes.rows, holes.columns if mirrored else None, self._scratch)
                out[place][holes.places] = near if holes.own is None else near.masked_fill_(holes.own, 0.0)

    def _write_by_kernel(self, out: Tensor, s: Tensor, place: Place, scales: Tensor | None) -> bool:
        """Positives and negatives at once; False if there is no kernel for that, or none for shifts so far apart."""
        kernels, ranges = self._scratch.native, self._positives.for_kernels
        pos, neg = self._pos.arrived, self._neg.arrived
        if kernels is None or ranges is None or pos is None or neg is None:
            return False
        return kernels.gradient(out, s, place, neg, (ranges, pos), scales)
