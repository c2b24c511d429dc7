r"""Rows as the kernels take them: in the dtype of the product, times a power of 2 where they need it, with 1 / length.

As in `circlet.similarity.rows`: the squares of a long row overflow, those of a short one vanish, and so would products
of two. With f_i the factor (1 for all rows of a usual length) and r_i the inverse length of f_i x_i,

    s_ij = r_i r_j (f_i x_i . f_j x_j),    dx_i = f_i (u_i - (u_i . x^_i) x^_i),    u = K (f x).

Which row needs one is known only on the device, and nobody waits for it: the rows that are multiplied are a copy, in
both passes. (Scaled within a product, rows would go through registers on their way to the tensor cores.) It is as large
as the anchors, and a chunk of the references. The rest of a length, r, is not in it: 16 bits would not hold it.

Legend: x (M, D).
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu.blocks import cdiv, power_of_2
from circlet.similarity.rows import USUAL

LOW, HIGH, DOWN, UP = (tl.constexpr(number) for number in USUAL[torch.float32])
NUMBERS = 2048  # of a block, so that a thread has some to load at once
DIMS = 512


class Rows(NamedTuple):
    """`data` (n, D) as they are multiplied, with a column stride of 1; `labels` (n,) int64; the rest (n,) in fp32.

    inverse: 1 / length of `data`; 1 if lengths do not matter, 0 for a zero row, so that nothing passes, either way, and
    NaN for one with a number that is not finite. factors: the powers of 2 that are in `data`.
    """

    data: Tensor
    labels: Tensor
    inverse: Tensor
    factors: Tensor

    def span(self, first: int, last: int) -> "Rows":
        """Rows [first, last)."""
        if last - first == len(self.data):
            return self
        return Rows(*(of_rows[first:last] for of_rows in self))


def prepare(x: Tensor, labels: Tensor, dtype: torch.dtype, *, normalize: bool, out: Tensor | None = None) -> Rows:
    """Rows x (M, D) to be multiplied in `dtype`; `out`: memory of that dtype for at least as many, if there is some."""
    labels = labels.to(torch.int64).contiguous()
    if not normalize or not len(x):
        ones = torch.ones(len(x), dtype=torch.float32, device=x.device)
        return Rows(_in_rows(x.to(dtype)), labels, ones, ones)
    x = _in_rows(x)
    # fp16 holds no row that needs a factor.
    copied = dtype != torch.float16
    data = x
    if copied:
        data = x.new_empty(x.shape, dtype=dtype) if out is None else out[: len(x)]
    inverse, factors = (torch.empty(len(x), dtype=torch.float32, device=x.device) for _ in "12")
    rows, dims = block_of(x.shape[1])
    rows_kernel[(cdiv(len(x), rows),)](
        x, data, inverse, factors, x.stride(0), data.stride(0), *x.shape, COPY=copied, BM=rows, BN=dims
    )
    return Rows(data, labels, inverse, factors)


def block_of(dim: int) -> tuple[int, int]:
    """Rows and columns of a block, for what goes along rows."""
    dims = min(DIMS, max(16, power_of_2(dim)))
    return NUMBERS // dims, dims


def _in_rows(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous()


@triton.jit
def rows_kernel(
    x, data, inverse, factors, stride_x, stride_data, M, D, COPY: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr
):
    """Of rows [BM m, BM (m + 1)). Each is summed three ways at once, and read again only to be copied."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    x_rows = x + rows[:, None].to(tl.int64) * stride_x
    plain = tl.zeros((BM,), dtype=tl.float32)
    of_long = tl.zeros((BM,), dtype=tl.float32)
    of_short = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, D, BN):
        dims = start + tl.arange(0, BN)[None, :]
        number = tl.load(x_rows + dims, mask=(rows[:, None] < M) & (dims < D), other=0.0).to(tl.float32)
        less, more = number * DOWN, number * UP
        plain += tl.sum(number * number, 1)
        of_long += tl.sum(less * less, 1)
        of_short += tl.sum(more * more, 1)
    is_long = plain > HIGH * HIGH
    is_short = (plain < LOW * LOW) & (of_short > 0)
    squares = tl.where(is_long, of_long, tl.where(is_short, of_short, plain))
    length = tl.where(squares == float("inf"), float("nan"), tl.sqrt_rn(squares))
    factor = tl.where(is_long, DOWN, tl.where(is_short, UP, 1.0))
    tl.store(inverse + rows, tl.where(squares == 0, 0.0, tl.div_rn(1.0, length)), mask=rows < M)
    tl.store(factors + rows, factor, mask=rows < M)
    if COPY:
        data_rows = data + rows[:, None].to(tl.int64) * stride_data
        for start in range(0, D, BN):
            dims = start + tl.arange(0, BN)[None, :]
            inside = (rows[:, None] < M) & (dims < D)
            number = tl.load(x_rows + dims, mask=inside, other=0.0).to(tl.float32) * factor[:, None]
            tl.store(data_rows + dims, number.to(data.dtype.element_ty), mask=inside)
