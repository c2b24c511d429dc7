r"""Gradient kernel: a chunk of K, the gradient with respect to the raw products p_ij = x_i . y_j.

    K_ij = r_i r_j slope(s_ij) F_i e^(e_ij - peak_i),      F_i = A_i / total_i,

A_i the gradient arriving at the log-sum-exp of anchor i (w_i Z_i for the unified loss), r = 1 / length. Pair-wise the
columns are anchors too, and the tile has the gradient of p_ij as the logit of j as well: F_i e^(..) + F_j e^(..).
A pair is positive or negative, and the stats are those of that side. s_ij has the bits that the forward pass saw: the
tiles are the same, and pair-wise only pairs i < j are computed (within a chunk on the diagonal they are written to
both of their places). So no exponent is above 0, but for rounding of its own, and none overflows.

Legend: a chunk has M rows and N columns; stats (2, 2, n): peak and total, of the positives and of the negatives; grads
(2, n): A of both; out (M, N).
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu import logits
from circlet.similarity.gpu.blocks import cdiv
from circlet.similarity.gpu.rows import Rows
from circlet.similarity.gpu.tile import Settings, meet, operands, same_label, similarities


class Arrived(NamedTuple):
    """stats (2, 2, n), see `merge`, and the gradients (2, n) that arrived at the log-sum-exps of these anchors."""

    stats: Tensor
    grads: Tensor

    def span(self, first: int, last: int) -> "Arrived":
        """Anchors [first, last)."""
        if last - first == self.grads.shape[1]:
            return self
        return Arrived(self.stats[..., first:last], self.grads[:, first:last])


def write_gradient(out: Tensor, x: Rows, y: Rows, rows: Arrived, columns: Arrived | None, offset: int,
                   settings: Settings) -> None:  # fmt: skip
    """K of the chunk of rows x and columns y, into out (M, N).

    columns: of the columns, where they are anchors too. offset: then also how far the first column is from the first
    row, to tell which pairs lie above the diagonal.
    """
    (height, dim), width = x.data.shape, len(y.data)
    blocks, mirrored = settings.blocks, columns is not None
    columns = rows if columns is None else columns
    gradient_kernel[(cdiv(height, blocks.rows), cdiv(width, blocks.columns))](
        *operands(x, y), *rows, *columns, out, x.data.stride(0), y.data.stride(0), rows.stats.stride(0),
        rows.stats.stride(1), rows.grads.stride(0), out.stride(0), height, width, dim, offset,
        *settings.numbers, MIRRORED=mirrored, **settings.constants,
    )  # fmt: skip


@triton.jit
def gradient_kernel(
    x, y, x_inverse, y_inverse, x_labels, y_labels, row_stats, row_grads, column_stats, column_grads, out,
    stride_x, stride_y, stats_kind, stats_side, grads_side, stride_out, M, N, D, offset, p0, p1, p2, p3,
    MIRRORED: tl.constexpr, RULE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """K of rows [BM m, BM (m + 1)) and columns [BN n, BN (n + 1)) of the chunk."""
    m, n = tl.program_id(0), tl.program_id(1)
    rows = m * BM + tl.arange(0, BM)
    columns = n * BN + tl.arange(0, BN)
    if MIRRORED and (n + 1) * BN + offset <= m * BM:  # below the diagonal: written by its mirror image
        return
    mixed = meet(x_labels, y_labels, rows, columns, M, N)
    s = similarities(
        x, y, x_inverse, y_inverse, stride_x, stride_y, rows, columns, M, N, D, BM, BN, BK, DTYPE, PRECISION
    )
    logit, slope = logits.negative(s, p0, p1, p2, p3, RULE)
    row_peak, row_factor = _terms(row_stats + stats_side, row_grads + grads_side, stats_kind, rows, M)
    g = row_factor[:, None] * tl.exp(logit - row_peak[:, None])
    if MIRRORED:
        peak, factor = _terms(column_stats + stats_side, column_grads + grads_side, stats_kind, columns, N)
        g += factor[None, :] * tl.exp(logit - peak[None, :])
    g *= slope
    if mixed:
        same = same_label(x_labels, y_labels, rows, columns, M, N)
        logit, slope = logits.positive(s, p0, p1, p2, p3, RULE)
        row_peak, row_factor = _terms(row_stats, row_grads, stats_kind, rows, M)
        toward = row_factor[:, None] * tl.exp(logit - row_peak[:, None])
        if MIRRORED:
            peak, factor = _terms(column_stats, column_grads, stats_kind, columns, N)
            toward += factor[None, :] * tl.exp(logit - peak[None, :])
        toward *= slope
        if MIRRORED:
            toward = tl.where(rows[:, None] == columns[None, :] + offset, 0.0, toward)
        g = tl.where(same, toward, g)
    # One factor after the other: a tile of their products would take registers, and is not needed to the bit.
    g *= tl.load(x_inverse + rows, mask=rows < M, other=0.0)[:, None]
    g *= tl.load(y_inverse + columns, mask=columns < N, other=0.0)[None, :]
    inside = (rows[:, None] < M) & (columns[None, :] < N)
    if MIRRORED:
        inside = inside & (rows[:, None] <= columns[None, :] + offset)
        if offset == 0:
            mirror = columns[None, :].to(tl.int64) * stride_out + rows[:, None]
            tl.store(out + mirror, g.to(out.dtype.element_ty), mask=inside & (rows[:, None] < columns[None, :]))
    place = rows[:, None].to(tl.int64) * stride_out + columns[None, :]
    tl.store(out + place, g.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _terms(stats, grads, stats_kind, anchors, M):
    """Of one side, peaks and F = A / total; 0 and 0 for a side without pairs."""
    total = tl.load(stats + stats_kind + anchors, mask=anchors < M, other=0.0)
    peak = tl.load(stats + anchors, mask=anchors < M, other=0.0)
    arrived = tl.load(grads + anchors, mask=anchors < M, other=0.0)
    return tl.where(total == 0, 0.0, peak), tl.where(total == 0, 0.0, arrived / total)
