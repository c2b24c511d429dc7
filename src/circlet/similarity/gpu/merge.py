"""Merge kernel: peaks and totals over parts of an anchor's pairs become those over all of them.

A peak is the largest logit, a total the sum of e^(logit - peak); -inf and 0 where there is no pair. The backward pass
takes these two: e^(logit - peak) / total loses nothing at a loss of hundreds, e^(logit - lse) would. One program
merges all parts of its anchors, in their order: the same bits again.

Legend: stats (2, 2, M): peak and total, of the positives and of the negatives; parts (S, 2, 2, M).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu.blocks import cdiv

MERGE_PARTS, MERGE_ANCHORS = 32, 32


def no_stats(x: Tensor) -> Tensor:
    """Stats (2, 2, B) of anchors x (B, D) that have met nobody yet."""
    stats = x.new_zeros((2, 2, len(x)), dtype=torch.float32)
    stats[0] = -torch.inf
    return stats


def merge(stats: Tensor, parts: Tensor) -> None:
    """Merge the parts (S, 2, 2, M) into the stats (2, 2, M)."""
    num_parts, _, _, num_anchors = parts.shape
    merge_kernel[(cdiv(num_anchors, MERGE_ANCHORS), 2)](
        stats, parts, stats.stride(0), stats.stride(1), parts.stride(0), parts.stride(1), parts.stride(2),
        num_anchors, num_parts, BM=MERGE_ANCHORS, BS=MERGE_PARTS,
    )  # fmt: skip


@triton.jit
def merge_kernel(
    stats, parts, stats_kind, stats_side, parts_part, parts_kind, parts_side, M, S,
    BM: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Stats of anchors [BM m, BM (m + 1)), on one side."""
    anchors = tl.program_id(0) * BM + tl.arange(0, BM)
    side = tl.program_id(1)
    place = stats + side.to(tl.int64) * stats_side + anchors
    peak = tl.load(place, mask=anchors < M, other=float("-inf"))
    total = tl.load(place + stats_kind, mask=anchors < M, other=0.0)
    for start in range(0, S, BS):
        numbers = start + tl.arange(0, BS)[:, None]
        inside = (numbers < S) & (anchors[None, :] < M)
        part = parts + numbers.to(tl.int64) * parts_part + side.to(tl.int64) * parts_side + anchors[None, :]
        peaks = tl.load(part, mask=inside, other=float("-inf"))
        totals = tl.load(part + parts_kind, mask=inside, other=0.0)
        top = tl.maximum(peak, tl.max(peaks, 0))
        shift = tl.where(top == float("-inf"), 0.0, top)
        total = total * tl.exp(peak - shift) + tl.sum(totals * tl.exp(peaks - shift[None, :]), 0)
        peak = top
    tl.store(place, peak, mask=anchors < M)
    tl.store(place + stats_kind, total, mask=anchors < M)
