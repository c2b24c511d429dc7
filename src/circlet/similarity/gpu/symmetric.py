"""Forward kernel, pair-wise: each pair of anchors is computed once, and counts for both.

A program takes one tile of a chunk and leaves two parts: peak and total of its rows, along the tile, and of its
columns, down the tile. `merge` adds them to the anchors' stats once the chunk is done, in a fixed order. On the
diagonal a tile counts its pairs i < j only; below, it has none.

The backward pass goes over the same chunks, and takes the pair i < j from the same tile (`gradient`): the logit whose
e^(..) it multiplies has the very bits that were summed here. It must: s_ij and s_ji are not the same bits wherever
the order in which a product is summed depends on the place in a tile (in NumPy's, on some processors), and gamma = 1000
makes of a last bit of s, 1e-7, a relative error of 1e-4.

Legend: B anchors, D dim; a chunk has M rows and N columns; parts (S, 2, 2, M), see `merge`: of the rows one for each
column of tiles, of the columns one for each row of tiles. They take 16 bytes x chunk for each row
and each column of tiles: 6 MiB for chunks of 4096 (fp32), 24 MiB for those of 8192 (16 bits), whatever B.
"""

import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu import logits
from circlet.similarity.gpu.blocks import cdiv
from circlet.similarity.gpu.merge import merge, no_stats
from circlet.similarity.gpu.rows import Rows
from circlet.similarity.gpu.tile import Settings, meet, operands, same_label, similarities
from circlet.similarity.symmetric import triangle


def symmetric_stats(x: Rows, settings: Settings) -> Tensor:
    """Stats (2, 2, B) of all anchors against one another."""
    blocks = settings.blocks
    (batch, dim), step = x.data.shape, blocks.height
    chunk = min(step, batch)
    stats = no_stats(x.data)
    row_parts, column_parts = (
        stats.new_empty(cdiv(chunk, size), 2, 2, chunk) for size in (blocks.columns, blocks.rows)
    )
    for a, b, c, d in triangle(batch, step, step):
        rows, columns = x.span(a, b), x.span(c, d)
        grid = cdiv(b - a, blocks.rows), cdiv(d - c, blocks.columns)
        symmetric_kernel[grid](
            *operands(rows, columns), row_parts, column_parts, x.data.stride(0), chunk, b - a, d - c, dim, c - a,
            *settings.numbers, **settings.constants,
        )  # fmt: skip
        merge(stats[..., a:b], row_parts[: grid[1], ..., : b - a])
        merge(stats[..., c:d], column_parts[: grid[0], ..., : d - c])
    return stats


@triton.jit
def symmetric_kernel(
    x, y, x_inverse, y_inverse, x_labels, y_labels, row_parts, column_parts,
    stride, chunk, M, N, D, offset, p0, p1, p2, p3,
    RULE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Parts of rows [BM m, BM (m + 1)) and columns [BN n, BN (n + 1)) of a chunk.

    offset: how far the first column of the chunk is from its first row. Parts: (.., 2, 2, chunk).
    """
    m, n = tl.program_id(0), tl.program_id(1)
    rows = m * BM + tl.arange(0, BM)
    columns = n * BN + tl.arange(0, BN)
    row_place = row_parts + n * 4 * chunk + rows
    column_place = column_parts + m * 4 * chunk + columns
    if (n + 1) * BN + offset > m * BM + 1:  # the last column is beyond the first row
        mixed = ((m + 1) * BM > n * BN + offset) | ((m + 1) * BM > M) | ((n + 1) * BN > N)
        mixed = mixed | meet(x_labels, y_labels, rows, columns, M, N)
        s = similarities(
            x, y, x_inverse, y_inverse, stride, stride, rows, columns, M, N, D, BM, BN, BK, DTYPE, PRECISION
        )
        if mixed:
            pair = (rows[:, None] < columns[None, :] + offset) & (rows[:, None] < M) & (columns[None, :] < N)
            same = same_label(x_labels, y_labels, rows, columns, M, N)
            logit, _ = logits.positive(s, p0, p1, p2, p3, RULE)
            logit = tl.where(pair & same, logit, float("-inf"))
            _leave(logit, row_place, column_place, chunk, rows, columns, M, N)
            logit, _ = logits.negative(s, p0, p1, p2, p3, RULE)
            logit = tl.where(pair & (same == 0), logit, float("-inf"))
            _leave(logit, row_place + chunk, column_place + chunk, chunk, rows, columns, M, N)
        else:
            _leave_none(row_place, column_place, chunk, rows, columns, M, N, BM, BN)
            logit, _ = logits.negative(s, p0, p1, p2, p3, RULE)
            _leave(logit, row_place + chunk, column_place + chunk, chunk, rows, columns, M, N)
    else:
        _leave_none(row_place, column_place, chunk, rows, columns, M, N, BM, BN)
        _leave_none(row_place + chunk, column_place + chunk, chunk, rows, columns, M, N, BM, BN)


@triton.jit
def _leave(logit, row_place, column_place, chunk, rows, columns, M, N):
    """Leave peaks and totals of one side of a tile."""
    peak, total = _peak_and_total(logit, 1)
    tl.store(row_place, peak, mask=rows < M)
    tl.store(row_place + 2 * chunk, total, mask=rows < M)
    peak, total = _peak_and_total(logit, 0)
    tl.store(column_place, peak, mask=columns < N)
    tl.store(column_place + 2 * chunk, total, mask=columns < N)


@triton.jit
def _peak_and_total(logit, AXIS: tl.constexpr):
    peak = tl.max(logit, AXIS)
    shift = tl.where(peak == float("-inf"), 0.0, peak)  # -inf - -inf would be NaN
    return peak, tl.sum(tl.exp(logit - tl.expand_dims(shift, AXIS)), AXIS)


@triton.jit
def _leave_none(row_place, column_place, chunk, rows, columns, M, N, BM: tl.constexpr, BN: tl.constexpr):
    """The same of a side without pairs."""
    tl.store(row_place, tl.full((BM,), float("-inf"), dtype=tl.float32), mask=rows < M)
    tl.store(row_place + 2 * chunk, tl.zeros((BM,), dtype=tl.float32), mask=rows < M)
    tl.store(column_place, tl.full((BN,), float("-inf"), dtype=tl.float32), mask=columns < N)
    tl.store(column_place + 2 * chunk, tl.zeros((BN,), dtype=tl.float32), mask=columns < N)
