"""A tile of similarities, and how it is computed.

Legend: x (B, D) anchors, y (C, D) references; rows (BM,) and columns (BN,) indices of a tile; BK the step along D.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from circlet.similarity.gpu.blocks import Blocks, precision
from circlet.similarity.gpu.logits import rounded
from circlet.similarity.gpu.rows import Rows
from circlet.similarity.short_form import Kernel


class Settings(NamedTuple):
    """How a tile is computed: the dtype that rows are multiplied in, the rule's `Kernel`, `Blocks`, cosine or not."""

    dtype: torch.dtype
    numbers: tuple[float, ...]
    blocks: Blocks
    normalize: bool
    constants: dict[str, Any]  # what a kernel of tiles is compiled for

    @classmethod
    def of(cls, dtype: torch.dtype, kernel: Kernel, blocks: Blocks, *, normalize: bool) -> "Settings":
        """For a rule, and rows multiplied in `dtype`."""
        constants = {
            "RULE": kernel.formula, "BM": blocks.rows, "BN": blocks.columns, "BK": blocks.depth,
            "DTYPE": triton_dtype(dtype), "PRECISION": precision(dtype),
            "num_warps": blocks.num_warps, "num_stages": blocks.num_stages,
        }  # fmt: skip
        return cls(dtype, tuple(kernel.numbers), blocks, normalize, constants)


def operands(x: Rows, y: Rows) -> tuple[Tensor, ...]:
    """Rows and columns of a tile, as the kernels take them."""
    return x.data, y.data, x.inverse, y.inverse, x.labels, y.labels


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
