"""Rows as the kernels take them, and a tile of similarities.

Legend: x (B, D) anchors, y (C, D) references; rows (BM,) and columns (BN,) indices of a tile; BK the step along D.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu.logits import rounded

# So that a product of two, of their inverses, and K stay within fp32. The kernels multiply rows as they came: of longer
# or shorter ones (but zero) the loss is NaN, as of all bad numbers on a GPU, where nobody waits to say more.
SHORTEST, LONGEST = 1e-17, 1e17


class Rows(NamedTuple):
    """`data` (n, D) with a column stride of 1, `labels` (n,) int64, `inverse` (n,) 1 / length in fp32.

    `inverse` is 1 if lengths do not matter, and 0 for a zero row, so that nothing passes, either way; NaN for a row
    that the kernels cannot take.
    """

    data: Tensor
    labels: Tensor
    inverse: Tensor

    def span(self, first: int, last: int) -> "Rows":
        """Rows [first, last)."""
        return Rows(self.data[first:last], self.labels[first:last], self.inverse[first:last])


def prepare(x: Tensor, labels: Tensor, inverse: Tensor | None, *, normalize: bool) -> Rows:
    """Rows of x; `inverse` if it is known already."""
    if inverse is None and normalize:
        norm = torch.linalg.vector_norm(x, dim=1, dtype=torch.float32)
        inverse = torch.where((norm >= SHORTEST) & (norm <= LONGEST), 1.0 / norm, torch.nan)
        # The squares of a short row may vanish, its largest number does not.
        inverse = inverse.masked_fill(torch.linalg.vector_norm(x, torch.inf, dim=1) == 0, 0.0)
    elif inverse is None:
        inverse = torch.ones(len(x), dtype=torch.float32, device=x.device)
    data = x if x.stride(1) == 1 else x.contiguous()
    return Rows(data, labels.to(torch.int64).contiguous(), inverse)


def triton_dtype(dtype: torch.dtype) -> tl.dtype:
    """Dtype in which the kernels multiply. The interpreter cannot multiply in bf16; fp32 gives it the same."""
    if dtype == torch.bfloat16 and not isinstance(products, triton.JITFunction):
        return tl.float32
    return {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}[dtype]


@triton.jit
def products(
    x, y, stride_x, stride_y, rows, columns, B, C, D,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(BM, BN) of x_i . y_j in fp32; 0 beyond B and C."""
    x_rows = x + rows[:, None].to(tl.int64) * stride_x
    y_rows = y + columns[None, :].to(tl.int64) * stride_y
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, D, BK):
        dims = k + tl.arange(0, BK)
        a = tl.load(x_rows + dims[None, :], mask=(rows[:, None] < B) & (dims[None, :] < D), other=0.0)
        b = tl.load(y_rows + dims[:, None], mask=(columns[None, :] < C) & (dims[:, None] < D), other=0.0)
        total = tl.dot(a.to(DTYPE), b.to(DTYPE), total, input_precision=PRECISION)
    return total


@triton.jit
def similarities(
    x, y, x_inverse, y_inverse, stride_x, stride_y, rows, columns, B, C, D,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, DTYPE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(BM, BN) of s_ij = r_i r_j (x_i . y_j); 0 beyond B and C.

    Every kernel takes its similarities from here: of the same tile, the same bits in both passes.
    """
    s = products(x, y, stride_x, stride_y, rows, columns, B, C, D, BM, BN, BK, DTYPE, PRECISION)
    inverse = tl.load(x_inverse + rows, mask=rows < B, other=0.0)[:, None]
    return rounded(s, inverse * tl.load(y_inverse + columns, mask=columns < C, other=0.0)[None, :])


@triton.jit
def same_label(x_labels, y_labels, rows, columns, B, C):
    """(BM, BN), which pairs are positive. Beyond B and C without meaning."""
    row_labels = tl.load(x_labels + rows, mask=rows < B, other=0)
    column_labels = tl.load(y_labels + columns, mask=columns < C, other=0)
    return row_labels[:, None] == column_labels[None, :]


@triton.jit
def meet(x_labels, y_labels, rows, columns, B, C):
    """Whether a tile may have a positive pair: of thousands of tiles, few have.

    Asked before the products take their registers, and of the lower halves of the labels, which costs half.
    """
    row_labels = tl.load(x_labels + rows, mask=rows < B, other=0).to(tl.int32)
    column_labels = tl.load(y_labels + columns, mask=columns < C, other=0).to(tl.int32)
    same = row_labels[:, None] == column_labels[None, :]
    return tl.max(tl.max(same.to(tl.int32), 1), 0) > 0
