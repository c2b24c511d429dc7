"""Sizes of blocks and chunks, and the precision of products. Fixed by dim and dtype: no search, the same bits again.

The numbers are chosen from register and shared-memory budgets (see `blocks_of`), not from measurements on a GPU.
"""

from typing import NamedTuple

import torch
from torch import Tensor

PROGRAMS = 512  # about four for each multiprocessor of the largest GPUs, so that the last ones to finish cost little
MAX_SPLITS = 16
SPLIT_BYTES = 16 * 2**20
WORKSPACE_BYTES = 32 * 2**20  # large chunks, since each costs three or four launches; it fits into the cache of an H100
PART_BYTES = 64 * 2**20  # of the gradient of a chunk of references, in fp32


class Blocks(NamedTuple):
    """rows x columns: a tile; `depth`: of the dim (or of the sum) in one step; height x width: a chunk of tiles.

    A chunk is what the backward pass holds at a time: its workspace has height x width numbers.
    """

    rows: int = 128
    columns: int = 128
    depth: int = 64
    height: int = 4096
    width: int = 4096
    num_warps: int = 8
    num_stages: int = 3


def blocks_of(x: Tensor, y: Tensor | None) -> Blocks:
    """For anchors x (B, D) and references y.

    With 8 warps a tile of 128 x 128 takes 64 of 255 registers a thread, and its rule as many again; exact fp32
    products, which tensor cores do not do, take twice that. Three stages of operands take 96 KiB of shared memory.
    (Compiled for sm_90 in bf16, with Circle, only the gradient kernel spills: 384 bytes a
    thread pair-wise, 220 against references.) Few anchors: a flatter chunk.
    """
    dtype, dim = product_dtype(x, y), power_of_2(x.shape[1])
    exact = dtype == torch.float32
    pairs = WORKSPACE_BYTES // workspace_dtype(dtype).itemsize
    height = min(1 << (pairs.bit_length() - 1) // 2, max(128, power_of_2(x.shape[0])))
    width = height if y is None else min(pairs // height, max(128, PART_BYTES // 4 // dim))
    depth = min(32 if exact else 64, max(16, dim))
    return Blocks(columns=64 if exact else 128, depth=depth, height=height, width=width)


def power_of_2(number: int) -> int:
    """The smallest power of 2 that is not smaller."""
    return 1 << max(number - 1, 0).bit_length()


def cdiv(number: int, by: int) -> int:
    """Quotient, rounded up."""
    return -(-number // by)


def num_splits(programs: int, steps: int, bytes_each: int = 0) -> int:
    """Into how many parts to split a sum of so many steps, so that few programs become enough."""
    wanted = PROGRAMS // max(programs, 1)
    if bytes_each:
        wanted = min(wanted, MAX_SPLITS, SPLIT_BYTES // bytes_each)
    return max(1, min(wanted, steps))


def product_dtype(x: Tensor, y: Tensor | None) -> torch.dtype:
    """Dtype in which rows are multiplied: their own, or fp32 where they differ."""
    return x.dtype if y is None else torch.promote_types(x.dtype, y.dtype)


def workspace_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype of K for rows of `dtype`: bf16 for bf16, else fp32 (its range is too wide for fp16)."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


def precision(dtype: torch.dtype, *, of_half: bool = False) -> str:
    """`input_precision` of a product in fp32: exact unless TF32 is allowed, or the rows (`of_half`) came in fp16.

    TF32 has the significand of fp16 and the exponent of fp32, so it holds fp16 rows exactly, and K as fp16 would.
    """
    if of_half:
        return "tf32"
    matmul = torch.backends.cuda.matmul
    allowed = getattr(matmul, "fp32_precision", None) or torch.get_float32_matmul_precision()
    return "tf32" if dtype == torch.float32 and allowed in ("tf32", "high", "medium") else "ieee"
