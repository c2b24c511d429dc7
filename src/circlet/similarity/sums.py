r"""Forward: each block of similarities adds its log-sum-exps to those of its anchors.

With e the logits, of anchor i: log sum_j e^e_ij, over its positives and over its negatives; in the symmetric form the
columns are anchors too, and the block counts for both.
"""

from math import isfinite

import torch
from torch import Tensor

from circlet.similarity.blocks import Scratch, Tile
from circlet.similarity.exponentials import exponent_of, logsumexp, rate
from circlet.similarity.native import Place
from circlet.similarity.positives import Holes, Positives
from circlet.similarity.short_form import ShortForm, Sides


class Sums:
    """Forward: running log-sum-exps of all anchors, (batch,) in fp64, so that the tiles add up without rounding."""

    def __init__(self, batch: int, scratch: Scratch, sides: Sides, positives: Positives) -> None:
        self.pos = torch.full((batch,), -torch.inf, dtype=torch.float64, device=scratch.device)
        self.neg = self.pos.clone()
        self._scratch, self._sides, self._positives = scratch, sides, positives
        self._kernels = scratch.native if sides.neg.fused is not None else None
        self._shift = 0
        # Similarities of positives, if each anchor has few: `result` adds them up.
        self._near: Tensor | None = None
        if positives.few and positives.most:
            self._near = torch.zeros(batch, positives.most, dtype=scratch.dtype, device=scratch.device)

    def result(self) -> Tensor:
        """(2, batch) log-sum-exps of the positives and of the negatives."""
        if self._near is not None:
            rows, _, positive, _ = self._positives.all_holes
            near, side = self._near[rows], self._sides.pos
            buffer = torch.empty_like(near)
            q = torch.where(positive, side.affine(near, 1.0, None, buffer), -torch.inf)
            self.pos[rows] = logsumexp(q, 1, side, buffer)
        return torch.stack([self.pos, self.neg])

    def add(self, s: Tensor, tile: Tile, *, mirrored: bool, scales: Tensor | None = None) -> None:
        """Add a tile of similarities to its rows and, if mirrored, to its columns (which are anchors too).

        scales: of its columns (d - c, 1), what makes similarities of `s`.
        """
        for a, b, c, d in tile.blocks(self._positives, self._scratch.size):
            for first, last, masks in self._positives.pieces(a, b, c, d):
                columns = slice(c - tile.c, d - tile.c)
                block, scale = s[first - tile.a : last - tile.a, columns], None if scales is None else scales[columns]
                if masks is not None or not self._add_by_kernel(block, Place(first, c, mirrored), scale):
                    block = block if scale is None else block * scale.T
                    self._add_by_passes(block, Tile(first, last, c, d), masks, mirrored=mirrored)

    def _add_by_kernel(self, block: Tensor, place: Place, scale: Tensor | None) -> bool:
        """Add a block of negatives and few positives; False if there is no kernel, or one shift is too coarse."""
        side = self._sides.neg
        if self._kernels is None or side.fused is None:
            return False
        ranges = self._positives.for_kernels
        positives = None if self._near is None or ranges is None else (ranges, self._near)
        exponent = exponent_of(side, block.dtype)
        return self._kernels.add(block, place, side.fused, exponent, self._shift, self.neg, positives, scale)

    def _add_by_passes(self, block: Tensor, tile: Tile, masks: tuple[Tensor, Tensor] | None, *, mirrored: bool) -> None:
        a, b, c, d = tile
        rows, columns = slice(a, b), slice(c, d) if mirrored else None
        holes = self._positives.holes(a, b, c, d) if masks is None else None
        if holes is not None:
            self._add_positives(block, holes)
            if mirrored:
                self._add_positives(block.T, self._positives.holes(c, d, a, b))
        plain = masks is None and self._scratch.looks and self._kernels is None
        if not (plain and self._add_plain(block, rows, columns, holes)):
            self._add_any(block, rows, columns, masks, holes)

    def _add_positives(self, block: Tensor, holes: Holes | None) -> None:
        """Take the similarities of the positives out of a block."""
        assert holes is not None
        assert self._near is not None
        self._near[holes.rows] = torch.where(holes.positive, block[holes.places], self._near[holes.rows])

    def _add_plain(self, block: Tensor, rows: slice, columns: slice | None, holes: Holes | None) -> bool:
        """Add a block of negatives with one exponential a pair, and one shift for all; False if that is too coarse."""
        side = self._sides.neg
        exponent = exponent_of(side, block.dtype)
        shift = block.new_tensor(self._shift)
        terms = side.affine(block, exponent.rate, shift, self._scratch.like(block)[0]).exp2_()
        if holes is not None:
            terms[holes.places] = 0.0
        sums = [terms.sum(1)] if columns is None else [terms.sum(1), terms.sum(0)]
        low, high = torch.cat(sums).aminmax()
        # What is lost below the smallest number must be nothing beside each sum.
        if not (float(low) > 2.0**-80 and float(high) < torch.inf):
            return False
        for total, place in zip(sums, (rows, columns), strict=False):
            _add(self.neg[place], (total.double().log2() - self._shift) * exponent.scale + exponent.offset)
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
