"""Sizes of blocks and chunks, and the precision of products. Fixed by dim and dtype: no search, the same bits again.

Tiles were chosen on an H100, among some twenty (of 4096 x 4096 and 1024 x 32768 pairs, dim 512); chunks so that what
is held of them stays small.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

PROGRAMS = 512  # about four for each multiprocessor of the largest GPUs, so that the last ones to finish cost little
WORKSPACE_BYTES = 128 * 2**20  # large chunks, since each costs five launches
PART_BYTES = 64 * 2**20  # of a chunk of references, or of its gradient, in fp32


class Blocks(NamedTuple):
    """rows x columns: a tile; `depth`: of the dim (or of the sum) in one step; height x width: a chunk of tiles.

    A chunk is what the backward pass holds at a time: its workspace has height x width numbers. `references`: how many
    the forward pass takes at a time.
    """

    rows: int = 64
    columns: int = 128
    depth: int = 64
    height: int = 4096
    width: int = 4096
    num_warps: int = 4
    num_stages: int = 3
    references: int = 2**15


def blocks_of(x: Tensor, y: Tensor | None) -> Blocks:
    """For anchors x (B, D) and references y: small tiles, since their logits and their sums are most of the work.

    Four stages of fp32 operands, or three of 16 bits, take 104 and 72 KiB of shared memory. Of few
    anchors a chunk is flatter.
    """
    dtype, dim = product_dtype(x, y), power_of_2(x.shape[1])
    full = dtype == torch.float32
    pairs = WORKSPACE_BYTES // workspace_dtype(dtype).itemsize
    height = min(1 << (pairs.bit_length() - 1) // 2, max(128, power_of_2(x.shape[0])))
    references = max(128, PART_BYTES // 4 // dim)
    width = height if y is None else min(pairs // height, references)
    return Blocks(depth=min(32 if full else 64, max(16, dim)), height=height, width=width,
                  num_stages=4 if full and _is_roomy(x.device) else 3, references=references)  # fmt: skip


@cache
def _is_roomy(device: torch.device) -> bool:
    """Whether a program may have the 104 KiB of shared memory that four stages take: not on graphics cards."""
    if device.type != "cuda":
        return True
    properties = torch.cuda.get_device_properties(device)
    return bool(getattr(properties, "shared_memory_per_block_optin", 0) >= 104 * 2**10)


def power_of_2(number: int) -> int:
    """The smallest power of 2 that is not smaller."""
    return 1 << max(number - 1, 0).bit_length()


def cdiv(number: int, by: int) -> int:
    """Quotient, rounded up."""
    return -(-number // by)


def num_splits(programs: int, steps: int) -> int:
    """Into how many parts to split a sum of so many steps, so that few programs become enough."""
    return max(1, min(PROGRAMS // max(programs, 1), steps))


def product_dtype(x: Tensor, y: Tensor | None) -> torch.dtype:
    """Dtype in which rows are multiplied: their own, or fp32 where they differ."""
    return x.dtype if y is None else torch.promote_types(x.dtype, y.dtype)


def workspace_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of K for rows of `dtype`: bf16 for bf16, else fp32 (its range is too wide for fp16)."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


def precision(dtype: torch.dtype) -> str:
    """`input_precision` of a product in Triton.

    Of fp32 rows TF32 where torch may use it for its own, else three products in TF32, of the rows and of what they are
    rounded by: on an H100 three times as fast as fp32 without tensor cores, and no less accurate.
    """
    matmul = torch.backends.cuda.matmul
    allowed = getattr(matmul, "fp32_precision", None) or torch.get_float32_matmul_precision()
    if dtype != torch.float32:
        return "ieee"
    return "tf32" if allowed in ("tf32", "high", "medium") else "tf32x3"
