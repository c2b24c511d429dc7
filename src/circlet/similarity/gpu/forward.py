"""Forward kernel: the two log-sum-exps of each anchor, in one pass over the references.

A program owns BM anchors and a part of the references (a split; more than one where there are too few anchors to
fill a GPU). It keeps the largest logit so far, the peak, and the sum of e^(logit - peak), the total. The backward
pass takes the same two: e^(logit - peak) / total loses nothing at a loss of hundreds, e^(logit - lse) would.

Legend: B batch, C references, D dim; S splits; peak and total (S, 2, B), of the positives and of the negatives.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu import logits
from circlet.similarity.gpu.blocks import Blocks, cdiv, num_splits, precision
from circlet.similarity.gpu.tile import Rows, meet, products, same_label, triton_dtype


def peak_and_total(x: Rows, y: Rows, dtype: torch.dtype, path: str, numbers: list[float], blocks: Blocks, *,
                   own: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(2, B) peaks and (2, B) totals, -inf and 0 where there is no pair.

    Rows are multiplied in `dtype`. own: y is x, and the pair of a row with itself is left out.
    """
    (batch, dim), num_references = x.data.shape, len(y.data)
    row_blocks, column_blocks = cdiv(batch, blocks.rows), cdiv(num_references, blocks.columns)
    span = cdiv(column_blocks, num_splits(row_blocks, column_blocks)) * blocks.columns
    splits = cdiv(num_references, max(span, 1))
    if not batch or not splits:
        empty = x.inverse.new_zeros(2, batch)
        return empty - torch.inf, empty
    peak, total = x.inverse.new_empty(2, splits, 2, batch)
    rule, p = logits.rule_numbers(path, numbers)
    lse_kernel[(row_blocks, splits)](
        x.data, y.data, x.inverse, y.inverse, x.labels, y.labels, peak, total,
        x.data.stride(0), y.data.stride(0), batch, num_references, dim, span, *p,
        OWN=own, RULE=rule, BM=blocks.rows, BN=blocks.columns, BK=blocks.depth, DTYPE=triton_dtype(dtype),
        PRECISION=precision(dtype), num_warps=blocks.num_warps, num_stages=blocks.num_stages,
    )  # fmt: skip
    top = peak.amax(0)
    return top, (total * (peak - torch.where(top == -torch.inf, 0.0, top)).exp()).sum(0)


@triton.jit
def lse_kernel(
    x, y, x_inverse, y_inverse, x_labels, y_labels, peak, total,
    stride_x, stride_y, B, C, D, span, p0, p1, p2, p3,
    OWN: tl.constexpr, RULE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Peak and total of rows [BM m, BM (m + 1)) over columns [span n, span (n + 1))."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    split = tl.program_id(1)
    row_inverse = tl.load(x_inverse + rows, mask=rows < B, other=0.0)
    pos_peak = tl.full((BM,), float("-inf"), dtype=tl.float32)
    neg_peak = tl.full((BM,), float("-inf"), dtype=tl.float32)
    pos_total = tl.zeros((BM,), dtype=tl.float32)
    neg_total = tl.zeros((BM,), dtype=tl.float32)
    for start in range(split * span, tl.minimum((split + 1) * span, C), BN):
        columns = start + tl.arange(0, BN)
        mixed = (start + BN > C) | meet(x_labels, y_labels, rows, columns, B, C)
        s = products(x, y, stride_x, stride_y, rows, columns, B, C, D, BM, BN, BK, DTYPE, PRECISION)
        s *= row_inverse[:, None] * tl.load(y_inverse + columns, mask=columns < C, other=0.0)[None, :]
        if mixed:
            same = same_label(x_labels, y_labels, rows, columns, B, C)
            inside = columns[None, :] < C
            positive = inside & same
            if OWN:
                positive = positive & (rows[:, None] != columns[None, :])
            logit, _ = logits.positive(s, p0, p1, p2, p3, RULE)
            pos_peak, pos_total = _add(pos_peak, pos_total, tl.where(positive, logit, float("-inf")))
            logit, _ = logits.negative(s, p0, p1, p2, p3, RULE)
            neg_peak, neg_total = _add(neg_peak, neg_total, tl.where(inside & (same == 0), logit, float("-inf")))
        else:
            logit, _ = logits.negative(s, p0, p1, p2, p3, RULE)
            neg_peak, neg_total = _add(neg_peak, neg_total, logit)
    place = split.to(tl.int64) * 2 * B + rows
    tl.store(peak + place, pos_peak, mask=rows < B)
    tl.store(peak + place + B, neg_peak, mask=rows < B)
    tl.store(total + place, pos_total, mask=rows < B)
    tl.store(total + place + B, neg_total, mask=rows < B)


@triton.jit
def _add(peak, total, logit):
    """Peak (BM,) and total (BM,) with the logits (BM, BN) of one more tile, -inf where there is no pair."""
    top = tl.maximum(peak, tl.max(logit, 1))
    shift = tl.where(top == float("-inf"), 0.0, top)  # -inf - -inf would be NaN
    return top, total * tl.exp(peak - shift) + tl.sum(tl.exp(logit - shift[:, None]), 1)
