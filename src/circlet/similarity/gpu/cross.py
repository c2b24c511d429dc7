"""Forward kernel, against references: peak and total of each anchor's two sides, in one pass over the references.

A program owns BM anchors and a part of the references (a split; more than one where there are too few anchors to
fill a GPU), and keeps peak and total so far. `merge` puts the splits together.

Legend: B batch, C references, D dim; S splits; parts (S, 2, 2, B): peak and total, of positives and of negatives.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu import logits
from circlet.similarity.gpu.blocks import cdiv, num_splits
from circlet.similarity.gpu.rows import Rows
from circlet.similarity.gpu.tile import Settings, meet, operands, same_label, similarities


def cross_parts(x: Rows, y: Rows, settings: Settings) -> Tensor:
    """Parts (S, 2, 2, B) of the anchors against a chunk of references, neither empty."""
    blocks = settings.blocks
    (batch, dim), num_references = x.data.shape, len(y.data)
    row_blocks, column_blocks = cdiv(batch, blocks.rows), cdiv(num_references, blocks.columns)
    span = cdiv(column_blocks, num_splits(row_blocks, column_blocks)) * blocks.columns
    splits = cdiv(num_references, span)
    parts = x.data.new_empty((splits, 2, 2, batch), dtype=torch.float32)
    cross_kernel[(row_blocks, splits)](
        *operands(x, y), parts, x.data.stride(0), y.data.stride(0), batch, num_references, dim, span,
        *settings.numbers, **settings.constants,
    )  # fmt: skip
    return parts


@triton.jit
def cross_kernel(
    x, y, x_inverse, y_inverse, x_labels, y_labels, parts,
    stride_x, stride_y, B, C, D, span, p0, p1, p2, p3,
    RULE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Peak and total of rows [BM m, BM (m + 1)) over columns [span n, span (n + 1))."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    split = tl.program_id(1)
    pos_peak = tl.full((BM,), float("-inf"), dtype=tl.float32)
    neg_peak = tl.full((BM,), float("-inf"), dtype=tl.float32)
    pos_total = tl.zeros((BM,), dtype=tl.float32)
    neg_total = tl.zeros((BM,), dtype=tl.float32)
    for start in range(split * span, tl.minimum((split + 1) * span, C), BN):
        columns = start + tl.arange(0, BN)
        mixed = (start + BN > C) | meet(x_labels, y_labels, rows, columns, B, C)
        s = similarities(
            x, y, x_inverse, y_inverse, stride_x, stride_y, rows, columns, B, C, D, BM, BN, BK, DTYPE, PRECISION
        )
        if mixed:
            same = same_label(x_labels, y_labels, rows, columns, B, C)
            inside = columns[None, :] < C
            logit, _ = logits.positive(s, p0, p1, p2, p3, RULE)
            pos_peak, pos_total = _add(pos_peak, pos_total, tl.where(inside & same, logit, float("-inf")))
            logit, _ = logits.negative(s, p0, p1, p2, p3, RULE)
            neg_peak, neg_total = _add(neg_peak, neg_total, tl.where(inside & (same == 0), logit, float("-inf")))
        else:
            logit, _ = logits.negative(s, p0, p1, p2, p3, RULE)
            neg_peak, neg_total = _add(neg_peak, neg_total, logit)
    place = parts + split.to(tl.int64) * 4 * B + rows
    tl.store(place, pos_peak, mask=rows < B)
    tl.store(place + B, neg_peak, mask=rows < B)
    tl.store(place + 2 * B, pos_total, mask=rows < B)
    tl.store(place + 3 * B, neg_total, mask=rows < B)


@triton.jit
def _add(peak, total, logit):
    """Peak (BM,) and total (BM,) with the logits (BM, BN) of one more tile, -inf where there is no pair."""
    top = tl.maximum(peak, tl.max(logit, 1))
    shift = tl.where(top == float("-inf"), 0.0, top)  # -inf - -inf would be NaN
    return top, total * tl.exp(peak - shift) + tl.sum(tl.exp(logit - shift[:, None]), 1)
