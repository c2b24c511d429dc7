r"""The symmetric form: pair-wise labels, one triangle of the similarity matrix in both passes.

Similarity, logits and labels are symmetric, so a tile above the diagonal serves its rows and its columns. Backward,
with H of `gradients`, the gradient of the unit rows is one product, dX = H X: a tile adds H X_j to its rows and H^T X_i
to its columns. Forward and backward cost 4 B^2 D FLOPs (u = 2 B^2 D: 2 u, the naive form 3 u), less where tiles are
kept. Memory: the sorted unit rows, their gradient, one tile, O(B), and the tiles kept. Deterministic.

Legend: B batch, D dim. x (B, D) anchors; order (B,) sorts them by label; ranges (2, B), see `positives`.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from circlet.similarity.blocks import Scratch, Tile, Tiling, tile_of
from circlet.similarity.gradients import Gradient
from circlet.similarity.kept import KeptTiles
from circlet.similarity.native import native
from circlet.similarity.pairs import Rule
from circlet.similarity.positives import Positives
from circlet.similarity.rows import Rows, compute_dtype, prepare, through_norm_
from circlet.similarity.sums import Sums


def triangle(batch: int, height: int, width: int) -> Iterator[Tile]:
    """Tiles that cover every pair of rows once: on the diagonal squares, then what is right of them."""
    for a in range(0, batch, height):
        b = min(a + height, batch)
        yield Tile(a, b, a, b)
        for c in range(b, batch, width):
            yield Tile(a, b, c, min(c + width, batch))


def symmetric_lse(
    x: Tensor, order: Tensor, ranges: Tensor, rule: Rule, normalize: bool, tiling: Tiling
) -> tuple[Tensor, KeptTiles]:
    """Log-sum-exps (2, B) of the positives and of the negatives in fp64, and the kept tiles."""
    dtype, (height, width, keep_bytes) = compute_dtype(x), tiling
    rows = prepare(x, order, dtype, normalize=normalize)
    positives = Positives(ranges, None, own=True)
    sums = Sums(len(x), Scratch(dtype, x.device), rule.short_form(), positives)
    kept = KeptTiles.of_its_own(x, dtype, len(x) * (len(x) + height) // 2, keep_bytes)
    scratch = rows.rows.new_empty(height * max(height, width))
    for tile in triangle(len(x), height, width):
        a, b, c, d = tile
        s = kept.place(_before(len(x), height, tile), b - a, d - c)
        s = _similarities(rows, tile, tile_of(scratch, b - a, d - c) if s is None else s)
        sums.add(s, tile, mirrored=tile.a != tile.c)
    lse = sums.result()
    lse[:, order] = lse.clone()
    return lse, kept


def symmetric_lse_backward(
    x: Tensor,
    order: Tensor,
    ranges: Tensor,
    lse: Tensor,
    grads: Tensor,
    kept: KeptTiles,
    rule: Rule,
    normalize: bool,
    tiling: Tiling,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Gradient of x (B, D), in its dtype or `out_dtype`, from the gradients (2, B) of the two log-sum-exps."""
    dtype, (height, width, _) = compute_dtype(x), tiling
    rows = prepare(x, order, dtype, normalize=normalize)
    positives = Positives(ranges, None, own=True)
    arrived = grads[:, order].to(dtype)
    gradient = Gradient(lse[:, order], arrived, Scratch(dtype, x.device), rule.short_form(), positives)
    tiles = kept.read()
    scratch = rows.rows.new_empty(height * max(height, width))
    total = torch.zeros_like(rows.rows)
    for tile in triangle(len(x), height, width):
        a, b, c, d = tile
        upper, right = rows.part(a, b), rows.part(c, d)
        h = tile_of(scratch, b - a, d - c)
        s = tiles.place(_before(len(x), height, tile), b - a, d - c)
        gradient.write(h, _similarities(rows, tile, h) if s is None else s, tile, mirrored=True)
        upper.scale_(h, right)
        total[a:b].addmm_(h, right.rows)
        if a != c:
            total[c:d].addmm_(h.T, upper.rows)
    tiles.finish()
    del scratch
    out = torch.empty_like(x, dtype=out_dtype, memory_format=torch.contiguous_format)
    for a in range(0, len(x), height):
        piece = slice(a, a + height)
        out[order[piece]] = through_norm_(total[piece], rows.part(a, a + height)).to(out.dtype)
    return out


def _similarities(rows: Rows, tile: Tile, out: Tensor) -> Tensor:
    s = rows.part(tile.a, tile.b).similarities(rows.part(tile.c, tile.d), out)
    if tile.a == tile.c:
        # A pair has one similarity, to the bit: what s_ij adds to the gradient of j as well was summed as s_ji, and a
        # last bit times gamma = 1000 is 1e-4. Not all processors multiply so that both come out alike.
        kernels = native(s.dtype, s.device)
        if kernels is not None:
            kernels.mirror(s)
        else:
            above = s.triu(1)
            s.triu_().add_(above.T)
    return s


def _before(batch: int, height: int, tile: Tile) -> int:
    """How many numbers are in the tiles before one."""
    a, b, c, _ = tile
    return a * batch - a * (a - height) // 2 + (b - a) * (c - a)
