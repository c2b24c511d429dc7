r"""The form over ranks: own rows against those of the other ranks too, with nothing to send for the gradient.

Similarity, logits and labels are symmetric, as in `symmetric`. So once the log-sum-exps of the rows of *all* ranks and
what arrives at them are known, with H of `gradients`, the gradient of the own rows needs no other rank:

    dX^ = H_own,own X^ + H_own,others Y^

The first part is the symmetric form's. The second costs u = 2 B C D FLOPs forward and 2 u backward, less u times the
share of tiles kept; anchors that meet references as in `cross` would cost 3 u backward and a sum over ranks. Memory:
the own unit rows, their gradient, tiles. Deterministic. Two plain functions; what is sent between the ranks, and
autograd, are not here (see `circlet.references.ranks`).

Legend: B own rows, C rows of the other ranks, D dim. x (B, D), y (C, D); labels (B,), other_labels (C,).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.blocks import Scratch, Tile, Tiling, tile_of, tiling_of
from circlet.similarity.cross import before, spans
from circlet.similarity.gradients import Gradient
from circlet.similarity.kept import KeptTiles
from circlet.similarity.pairs import Rule
from circlet.similarity.positives import Positives, ranges, sort_by_label
from circlet.similarity.rows import compute_dtype, prepare, through_norm_, without_autocast
from circlet.similarity.sums import Sums
from circlet.similarity.symmetric import symmetric_lse, symmetric_lse_backward

TILING: Tiling | None = None  # of a size that suits the device


class RankRows(NamedTuple):
    """The rows of all ranks, as one rank sees them, by which rule they meet, and whether in unit length."""

    x: Tensor
    labels: Tensor
    y: Tensor
    other_labels: Tensor
    rule: Rule
    normalize: bool


class Kept(NamedTuple):
    """The tiles that the forward pass leaves to the backward pass, of the own rows and of the others."""

    own: KeptTiles
    others: KeptTiles


def own_lse(rank_rows: RankRows) -> tuple[Tensor, Kept]:
    """Log-sum-exps (2, B) of the positives and of the negatives of the own rows, in fp64; and what is kept."""
    x, y = rank_rows.x, rank_rows.y
    tiling = TILING or tiling_of(x)
    order, sorted_labels = sort_by_label(rank_rows.labels)
    own_ranges = ranges(sorted_labels, sorted_labels)
    with without_autocast(x):
        within, own_kept = symmetric_lse(x, order, own_ranges, rank_rows.rule, rank_rows.normalize, tiling)
        y_order, positives = _positives(sorted_labels, rank_rows.other_labels)
        dtype = compute_dtype(x)
        rows = prepare(x, order, dtype, normalize=rank_rows.normalize)
        sums = Sums(len(x), Scratch(dtype, x.device), rank_rows.rule.short_form(), positives)
        kept = KeptTiles.of_its_own(x, dtype, len(x) * len(y), tiling.keep_bytes)
        scratch = _scratch(rows.rows, y, tiling)
        for c, d in spans(len(y), tiling.width):
            columns = prepare(y, y_order[c:d], dtype, normalize=rank_rows.normalize)
            for a, b in spans(len(x), tiling.height):
                s = kept.place(before(len(x), Tile(a, b, c, d)), b - a, d - c)
                s = tile_of(scratch, b - a, d - c) if s is None else s
                s = rows.part(a, b).similarities(columns, s)
                sums.add(s, Tile(a, b, len(x) + c, len(x) + d), mirrored=False)
        across = sums.result()
        across[:, order] = across.clone()
        return torch.logaddexp(within, across), Kept(own_kept, kept)


def own_gradient(
    rank_rows: RankRows, kept: Kept, lse: Tensor, grads: Tensor, other_lse: Tensor, other_grads: Tensor
) -> Tensor:
    """Gradient of the own rows (B, D), in their dtype.

    lse: (2, B) of the own rows and other_lse (2, C), in fp64; grads and other_grads: what arrived there.
    """
    dtype = compute_dtype(rank_rows.x)
    x, y = rank_rows.x, rank_rows.y
    tiling = TILING or tiling_of(x)
    order, sorted_labels = sort_by_label(rank_rows.labels)
    own_ranges = ranges(sorted_labels, sorted_labels)
    settings = rank_rows.rule, rank_rows.normalize, tiling
    with without_autocast(x):
        # In the dtype of the computation, so that the sum of both parts is rounded once.
        within = symmetric_lse_backward(x, order, own_ranges, lse, grads, kept.own, *settings, dtype)
        y_order, positives = _positives(sorted_labels, rank_rows.other_labels)
        rows = prepare(x, order, dtype, normalize=rank_rows.normalize)
        all_lse = torch.cat([lse[:, order], other_lse[:, y_order]], 1)
        arrived = torch.cat([grads[:, order], other_grads[:, y_order]], 1).to(dtype)
        gradient = Gradient(all_lse, arrived, Scratch(dtype, x.device), rank_rows.rule.short_form(), positives)
        tiles = kept.others.read()
        scratch = _scratch(rows.rows, y, tiling)
        total = torch.zeros_like(rows.rows)
        for c, d in spans(len(y), tiling.width):
            columns = prepare(y, y_order[c:d], dtype, normalize=rank_rows.normalize)
            for a, b in spans(len(x), tiling.height):
                h = tile_of(scratch, b - a, d - c)
                s = tiles.place(before(len(x), Tile(a, b, c, d)), b - a, d - c)
                s = rows.part(a, b).similarities(columns, h) if s is None else s
                gradient.write(h, s, Tile(a, b, len(x) + c, len(x) + d), mirrored=True)
                rows.part(a, b).scale_(h, columns)
                total[a:b].addmm_(h, columns.rows)
        tiles.finish()
        within[order] += through_norm_(total, rows)
        return within.to(rank_rows.x.dtype)


def _scratch(rows: Tensor, y: Tensor, tiling: Tiling) -> Tensor:
    return rows.new_empty(min(tiling.height, len(rows)) * min(tiling.width, len(y)))


def _positives(sorted_labels: Tensor, other_labels: Tensor) -> tuple[Tensor, Positives]:
    """Order that sorts the other rows, and the positives, whose columns are numbered on from the own rows."""
    y_order, sorted_others = sort_by_label(other_labels)
    return y_order, Positives(ranges(sorted_labels, sorted_others) + len(sorted_labels), None, own=False)
