r"""Gradient kernel: a chunk of K, the gradient with respect to the raw products p_ij = x_i . y_j.

    K_ij = r_i r_j slope(s_ij) F_i e^(e_ij - peak_i),      F_i = A_i / total_i,

A_i the gradient arriving at the log-sum-exp of anchor i (w_i Z_i for the unified loss), r = 1 / length. Pair-wise the
columns are anchors too, and the tile has the gradient of p_ij as the logit of j as well: F_i e^(..) + F_j e^(..).
A pair is positive or negative; `terms` has both sides. s_ij has the bits that the forward pass saw: the tiles are the
same, and pair-wise only pairs i < j are computed (within a chunk on the diagonal they are written to both of their
places). So no exponent is above 0, but for rounding of its own, and none overflows.

Legend: a chunk has M rows and N columns, from `first_row` and `first_column` on; terms (4, B): peak and F of the
positives, peak and F of the negatives; out (M, N).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu import logits
from circlet.similarity.gpu.blocks import Blocks, cdiv, precision
from circlet.similarity.gpu.tile import Rows, meet, same_label, similarities, triton_dtype


def terms_of(stats: Tensor, grads: Tensor) -> Tensor:
    """Terms (4, B) from the stats (see `merge`) and the gradients (2, B) of the log-sum-exps. An empty side: 0."""
    peak, total = stats
    empty = total == 0
    factor = torch.where(empty, 0.0, grads / total)
    return torch.stack([torch.where(empty, 0.0, peak), factor], dim=1).flatten(0, 1)


def write_gradient(out: Tensor, x: Rows, y: Rows, row_terms: Tensor, column_terms: Tensor | None,
                   offset: int | None, dtype: torch.dtype, formula: str, numbers: list[float],
                   blocks: Blocks) -> None:  # fmt: skip
    """K of the chunk of rows x and columns y, into out (M, N).

    column_terms: of the columns, where they are anchors too. offset: then also how far the first column is from the
    first row, to tell which pairs lie above the diagonal.
    """
    (height, dim), width = x.data.shape, len(y.data)
    mirrored = column_terms is not None
    column_terms = row_terms if column_terms is None else column_terms
    gradient_kernel[(cdiv(height, blocks.rows), cdiv(width, blocks.columns))](
        x.data, y.data, x.inverse, y.inverse, x.labels, y.labels, row_terms, column_terms, out,
        x.data.stride(0), y.data.stride(0), row_terms.stride(0), out.stride(0), height, width, dim, offset or 0,
        *numbers,
        MIRRORED=mirrored, RULE=formula, BM=blocks.rows, BN=blocks.columns, BK=blocks.depth, DTYPE=triton_dtype(dtype),
        PRECISION=precision(dtype), num_warps=blocks.num_warps, num_stages=blocks.num_stages,
    )  # fmt: skip


@triton.jit
def gradient_kernel(
    x, y, x_inverse, y_inverse, x_labels, y_labels, row_terms, column_terms, out,
    stride_x, stride_y, stride_terms, stride_out, M, N, D, offset, p0, p1, p2, p3,
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
    row_side = row_terms + 2 * stride_terms
    column_side = column_terms + 2 * stride_terms
    g = slope * _weight(logit, row_side, column_side, stride_terms, rows, columns, M, N, MIRRORED)
    if mixed:
        same = same_label(x_labels, y_labels, rows, columns, M, N)
        logit, slope = logits.positive(s, p0, p1, p2, p3, RULE)
        toward = slope * _weight(logit, row_terms, column_terms, stride_terms, rows, columns, M, N, MIRRORED)
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
def _weight(logit, row_side, column_side, stride_terms, rows, columns, M, N, MIRRORED: tl.constexpr):
    """F_i e^(logit - peak_i), and the same of j if mirrored."""
    peak = tl.load(row_side + rows, mask=rows < M, other=0.0)[:, None]
    factor = tl.load(row_side + stride_terms + rows, mask=rows < M, other=0.0)[:, None]
    weight = factor * tl.exp(logit - peak)
    if MIRRORED:
        peak = tl.load(column_side + columns, mask=columns < N, other=0.0)[None, :]
        factor = tl.load(column_side + stride_terms + columns, mask=columns < N, other=0.0)[None, :]
        weight += factor * tl.exp(logit - peak)
    return weight
