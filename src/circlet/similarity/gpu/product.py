r"""Product kernels: u = K Y (or K^T X), and from u to the gradient of the rows, dx = u - (u . x^) x^.

A program of the first owns BM rows and BN columns of u. Where that makes too few programs to fill a GPU the sum over
the columns of K is split, and the parts are added up by the second kernel, always in the same order.

Legend: K (M, N), or its transpose; y (N, D); u (S, M, D) in fp32, S splits; x (M, D) the rows whose gradient is out.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu.blocks import Blocks, cdiv, num_splits, power_of_2, precision
from circlet.similarity.gpu.tile import Rows, triton_dtype

FINISH_ROWS, FINISH_DIMS = 16, 128


def new_sums(like: Tensor, num_rows: int, chunk: int, steps: int, blocks: Blocks) -> Tensor:
    """Zeros (S, num_rows, D), for products that give `chunk` rows at a time and sum over so many columns."""
    dim = like.shape[1]
    programs = cdiv(min(num_rows, chunk), blocks.rows) * cdiv(dim, blocks.rows)
    splits = num_splits(2 * programs, cdiv(steps, blocks.depth), 4 * num_rows * dim)
    return like.new_zeros((splits, num_rows, dim), dtype=torch.float32)


def add_product(sums: Tensor, k: Tensor, y: Tensor, blocks: Blocks) -> None:
    """Add K y to the sums (S, M, D)."""
    (height, width), dim, splits = k.shape, y.shape[1], len(sums)
    depth = max(16, blocks.depth * y.itemsize // k.itemsize)
    span = cdiv(cdiv(width, depth), splits) * depth
    columns = min(blocks.rows, max(16, power_of_2(dim)))
    product_kernel[(cdiv(height, blocks.rows), cdiv(dim, columns), splits)](
        k, y, sums, k.stride(0), k.stride(1), y.stride(0), sums.stride(0), sums.stride(1), height, width, dim, span,
        BM=blocks.rows, BN=columns, BK=depth, DTYPE=triton_dtype(k.dtype),
        PRECISION=precision(k.dtype, of_half=y.dtype == torch.float16),
        num_warps=blocks.num_warps, num_stages=blocks.num_stages,
    )  # fmt: skip


def finish(sums: Tensor, x: Rows, out: Tensor | None = None, *, normalize: bool) -> Tensor:
    """Gradient of the rows x from the sums of their products, into out (M, D), or in place of the sums if it can be."""
    num_rows, dim = x.data.shape
    if out is None:
        in_place = len(sums) == 1 and x.data.dtype == sums.dtype
        out = sums[0] if in_place else x.data.new_empty(num_rows, dim)
    if num_rows:
        finish_kernel[(cdiv(num_rows, FINISH_ROWS),)](
            sums, x.data, x.inverse, out, sums.stride(0), sums.stride(1), x.data.stride(0), out.stride(0),
            num_rows, dim, len(sums), NORMALIZE=normalize, BM=FINISH_ROWS, BN=FINISH_DIMS,
        )  # fmt: skip
    return out


@triton.jit
def product_kernel(
    k, y, sums, k_row, k_column, stride_y, sums_split, sums_row, M, N, D, span,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add rows [BM m, BM (m + 1)) and columns [BN n, BN (n + 1)) of K y, summed over one split."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    dims = tl.program_id(1) * BN + tl.arange(0, BN)
    split = tl.program_id(2)
    k_rows = k + rows[:, None].to(tl.int64) * k_row
    inside = (rows[:, None] < M) & (dims[None, :] < D)
    place = sums + split.to(tl.int64) * sums_split + rows[:, None].to(tl.int64) * sums_row + dims[None, :]
    stop = tl.minimum((split + 1) * span, N)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(split * span, stop, BK):
        steps = start + tl.arange(0, BK)
        a = tl.load(k_rows + steps[None, :].to(tl.int64) * k_column,
                    mask=(rows[:, None] < M) & (steps[None, :] < stop), other=0.0)  # fmt: skip
        b = tl.load(y + steps[:, None].to(tl.int64) * stride_y + dims[None, :],
                    mask=(steps[:, None] < stop) & (dims[None, :] < D), other=0.0)  # fmt: skip
        total = tl.dot(a.to(DTYPE), b.to(DTYPE), total, input_precision=PRECISION)
    tl.store(place, tl.load(place, mask=inside, other=0.0) + total, mask=inside)


@triton.jit
def finish_kernel(
    sums, x, inverse, out, sums_split, sums_row, stride_x, stride_out, M, D, S,
    NORMALIZE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """Gradient of rows [BM m, BM (m + 1)); goes along them twice, since the radial part must be known first."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    row_inverse = tl.load(inverse + rows, mask=rows < M, other=0.0)[:, None]
    rows = rows[:, None].to(tl.int64)
    radial = tl.zeros((BM, 1), dtype=tl.float32)
    if NORMALIZE:
        for start in range(0, D, BN):
            dims = start + tl.arange(0, BN)[None, :]
            inside = (rows < M) & (dims < D)
            u = _sum(sums + rows * sums_row + dims, sums_split, S, inside, BM, BN)
            unit = tl.load(x + rows * stride_x + dims, mask=inside, other=0.0).to(tl.float32) * row_inverse
            radial += tl.sum(u * unit, 1)[:, None]
    for start in range(0, D, BN):
        dims = start + tl.arange(0, BN)[None, :]
        inside = (rows < M) & (dims < D)
        u = _sum(sums + rows * sums_row + dims, sums_split, S, inside, BM, BN)
        if NORMALIZE:
            unit = tl.load(x + rows * stride_x + dims, mask=inside, other=0.0).to(tl.float32) * row_inverse
            u -= radial * unit
        tl.store(out + rows * stride_out + dims, u.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _sum(place, stride, S, inside, BM: tl.constexpr, BN: tl.constexpr):
    """(BM, BN), added up over the splits."""
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for _ in range(S):
        total += tl.load(place, mask=inside, other=0.0)
        place += stride
    return total
