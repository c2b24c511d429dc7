"""Rows: embeddings as the kernels take them (unit length, fp32 or fp64), and the way back of their gradient.

With r = 1 / |x| and g the gradient of the unit row x^ = r x:    dx = r (g - (g . x^) x^);    a zero row: 0.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """`unit`: (n, D) rows as they are multiplied. `norm`: (n, 1) their lengths, or None.

    The length of a zero row counts as infinite, so that nothing passes, either way.
    """

    unit: Tensor
    norm: Tensor | None


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """fp32, or fp64 if any operand is fp64."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def prepare(x: Tensor, index: Tensor | slice | None, dtype: torch.dtype, *, normalize: bool) -> Rows:
    """Rows x[index] in the dtype of the computation; scaled to unit length if `normalize`. A zero row stays zero."""
    rows = (x if index is None else x[index]).to(dtype)
    if not normalize:
        return Rows(rows, None)
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    norm.masked_fill_(norm == 0, torch.inf)
    is_copy = isinstance(index, Tensor) or x.dtype != dtype
    return Rows(rows.div_(norm) if is_copy else rows / norm, norm)


def through_norm_(grad: Tensor, rows: Rows) -> Tensor:
    """Turn the gradient of `rows.unit` into that of the rows they came from, in place."""
    if rows.norm is None:
        return grad
    radial = torch.linalg.vecdot(grad, rows.unit)[:, None]
    return grad.addcmul_(rows.unit, radial, value=-1.0).div_(rows.norm)


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """No autocast on this tensor's device; where there is none, nothing: entering it costs three small operations."""
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
