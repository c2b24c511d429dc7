r"""The cross form: anchors against any references (class weights, a memory bank, another batch, other ranks).

References go by in tiles: a tile is cast, scaled to unit length, used and forgotten, so there is no normalised copy
of them. Backward, with G of `gradients`, r_j = 1/|w_j| and w^_j = r_j w_j:

    dX^ = G W^,    dW^ = G^T X^,    dw_j = r_j (dw^_j - (dw^_j . w^_j) w^_j)    (and so for X at the end).

Where kernels do all that is between the products, they multiply by r_j too, before and after: references of usual
lengths are then multiplied as they are, never written, and kept tiles are x^_i . w_j.

With u = 2 B C D FLOPs it costs 4 u, less u times the share of tiles kept; memory dW + O(B D) + tiles. Class-level
labels are no special case: sorted by label, each anchor has a range of one reference.

Tiles are kept where dW will be, one range of references after the other: their tiles from B c on, their gradient from
D c on. So dW is written from the end where it meets tiles that have been read: the first if B >= D, else the last.

Legend: B batch, C references, D dim. x (B, D) anchors, y (C, D) references.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.blocks import Scratch, Tile, Tiling, tile_of
from circlet.similarity.gradients import Gradient
from circlet.similarity.kept import KeptTiles
from circlet.similarity.native import native
from circlet.similarity.pairs import Rule
from circlet.similarity.positives import Positives
from circlet.similarity.rows import Rows, compute_dtype, prepare, through_norm_
from circlet.similarity.short_form import Sides
from circlet.similarity.sums import Sums


class CrossPairs(NamedTuple):
    """Which pairs are positive, as the tiles take it.

    x_order (B,), y_order (C,) sort anchors and references by label (None: as they are); then ranges (2, B) or mask
    (B, C), see `positives`. own: the references are the anchors.
    """

    x_order: Tensor | None
    y_order: Tensor | None
    ranges: Tensor | None
    mask: Tensor | None
    own: bool


def cross_lse(
    x: Tensor, y: Tensor, pairs: CrossPairs, rule: Rule, normalize: bool, tiling: Tiling
) -> tuple[Tensor, KeptTiles]:
    """Log-sum-exps (2, B) of the positives and of the negatives in fp64, and the kept tiles."""
    dtype, (height, width, keep_bytes) = compute_dtype(x, y), tiling
    anchors = prepare(x, pairs.x_order, dtype, normalize=normalize)
    positives = Positives(pairs.ranges, pairs.mask, own=pairs.own)
    sides = rule.short_form()
    sums = Sums(len(x), Scratch(dtype, x.device), sides, positives)
    by_kernels = _by_kernels(anchors, sides, pairs)
    if keep_bytes and y.requires_grad and _in_place(y, pairs, dtype):
        kept = KeptTiles(y.new_empty(y.numel()))
    else:
        kept = KeptTiles.of_its_own(x, dtype, len(x) * len(y), keep_bytes)
    scratch = anchors.rows.new_empty(min(height, len(x)) * min(width, len(y)))
    place = scratch.new_empty(min(width, len(y)), y.shape[1])
    for c, d in spans(len(y), width):
        references = prepare(
            y, span(pairs.y_order, c, d), dtype, normalize=normalize, out=place[: d - c], as_they_are=by_kernels
        )
        for a, b in spans(len(x), height):
            s = kept.place(before(len(x), Tile(a, b, c, d)), b - a, d - c)
            s, met = tile_of(scratch, b - a, d - c) if s is None else s, anchors.part(a, b)
            s = met.products(references, s) if by_kernels else met.similarities(references, s)
            sums.add(s, Tile(a, b, c, d), mirrored=False, scales=references.factor if by_kernels else None)
    lse = sums.result()
    if pairs.x_order is not None:
        lse[:, pairs.x_order] = lse.clone()
    return lse, kept


def cross_lse_backward(
    x: Tensor,
    y: Tensor,
    pairs: CrossPairs,
    lse: Tensor,
    grads: Tensor,
    kept: KeptTiles,
    needs: tuple[bool, bool],
    rule: Rule,
    normalize: bool,
    tiling: Tiling,
) -> tuple[Tensor, Tensor]:
    """Gradients of x (B, D) and of y (C, D), each in its dtype; without rows where not needed.

    lse: (2, B) as `cross_lse` gave them. grads: (2, B), what arrived there.
    """
    dtype, (height, width, _), (needs_x, needs_y) = compute_dtype(x, y), tiling, needs
    anchors = prepare(x, pairs.x_order, dtype, normalize=normalize)
    if pairs.x_order is not None:
        lse, grads = lse[:, pairs.x_order], grads[:, pairs.x_order]
    positives = Positives(pairs.ranges, pairs.mask, own=pairs.own)
    sides = rule.short_form()
    gradient = Gradient(lse, grads.to(dtype), Scratch(dtype, x.device), sides, positives)
    by_kernels = _by_kernels(anchors, sides, pairs)
    tiles = kept.read()
    in_place = _in_place(y, pairs, dtype)
    memory = tiles.memory if in_place else None
    scratch = anchors.rows.new_empty(min(height, len(x)) * min(width, len(y)))
    total = torch.zeros_like(anchors.rows) if needs_x else None
    new = torch.empty_like if len(x) else torch.zeros_like
    out = y.new_empty(0, y.shape[1])
    if needs_y:
        out = new(y, memory_format=torch.contiguous_format) if memory is None else memory.view(y.shape)
    directly = in_place and (memory is None or len(x) <= height)
    columns = [*spans(len(y), width)]
    if memory is not None and len(x) < y.shape[1]:
        columns.reverse()
    place = scratch.new_empty(min(width, len(y)), y.shape[1])
    for c, d in columns:
        references = prepare(
            y, span(pairs.y_order, c, d), dtype, normalize=normalize, out=place[: d - c], as_they_are=by_kernels
        )
        part = None
        if needs_y:
            part = out[c:d] if directly else out.new_empty((d - c, y.shape[1]), dtype=dtype)
        for a, b in spans(len(x), height):
            g = tile_of(scratch, b - a, d - c)
            s = tiles.place(before(len(x), Tile(a, b, c, d)), b - a, d - c)
            met = anchors.part(a, b)
            if s is None:
                s = met.products(references, g) if by_kernels else met.similarities(references, g)
            gradient.write(g, s, Tile(a, b, c, d), mirrored=False, scales=references.factor if by_kernels else None)
            if not by_kernels:
                met.scale_(g, references)
            if total is not None:
                total[a:b].addmm_(g, references.rows)
            if part is not None:
                torch.addmm(part, g.T, met.rows, beta=float(a > 0), out=part)
        if part is not None:
            through_norm_(part, references)
            if pairs.y_order is not None:
                out[pairs.y_order[c:d]] = part.to(out.dtype)
            elif not directly:
                out[c:d] = part
    tiles.finish()
    if total is None:
        return x.new_empty(0, x.shape[1]), out
    grad_x = through_norm_(total, anchors).to(x.dtype)
    if pairs.x_order is not None:
        grad_x[pairs.x_order] = grad_x.clone()
    return grad_x, out


def spans(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Consecutive [first, last) that make up `length`."""
    for first in range(0, length, step):
        yield first, min(first + step, length)


def before(batch: int, tile: Tile) -> int:
    """How many numbers are in the tiles before one: those of a range of columns are one below the other."""
    a, _, c, d = tile
    return batch * c + a * (d - c)


def span(order: Tensor | None, c: int, d: int) -> Tensor | slice:
    """Index of the references [c, d) of the sorted ones."""
    return slice(c, d) if order is None else order[c:d]


def _by_kernels(anchors: Rows, sides: Sides, pairs: CrossPairs) -> bool:
    """Whether kernels do all of a tile, which may then be of references as they are: it costs no pass over them."""
    fused = all(side.fused is not None for side in sides)
    has_kernels = native(anchors.rows.dtype, anchors.rows.device) is not None
    return has_kernels and fused and pairs.mask is None and anchors.factor is None


def _in_place(y: Tensor, pairs: CrossPairs, dtype: torch.dtype) -> bool:
    """Whether the gradient of the references is what is computed, in their order."""
    return pairs.y_order is None and y.dtype == dtype
