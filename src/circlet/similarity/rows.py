"""Rows: embeddings as the kernels take them (unit length, fp32 or fp64), and the way back of their gradient.

With r = 1 / |x| and g the gradient of the unit row x^ = r x:    dx = r (g - (g . x^) x^);    a zero row: 0.

Every finite row but zero keeps its direction, however long or short. The squares of a long row overflow, those of a
short one vanish: such a row is multiplied by a power of 2 before its length is taken, which rounds nothing. All others
stay as they are, to the bit. As r multiplies nothing and |x| divides, a gradient is infinite only where no number of
its dtype is large enough for it.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad


class Rows(NamedTuple):
    """`unit`: (n, D) rows as they are multiplied. `norm`: (n, 1) their lengths, or None.

    The length of a zero row counts as infinite, so that nothing passes, either way.
    """

    unit: Tensor
    norm: Tensor | None


class Usual(NamedTuple):
    """Between which lengths a sum of squares is good, and by what longer and shorter rows are multiplied."""

    low: float
    high: float
    down: float
    up: float


USUAL = {
    torch.float32: Usual(2.0**-40, 2.0**60, 2.0**-96, 2.0**100),
    torch.float64: Usual(2.0**-400, 2.0**500, 2.0**-600, 2.0**700),
}


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """fp32, or fp64 if any operand is fp64."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def unit_rows(x: Tensor) -> Tensor:
    """Rows (n, D) in fp32 or fp64 scaled to unit length, differentiably; a zero row stays zero, with a zero gradient.

    >>> unit_rows(torch.tensor([[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if _is_usual(norm):
        return x / norm
    scaled = x * _factors(norm.detach())
    norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / norm.masked_fill(norm == 0, torch.inf)


def prepare(x: Tensor, index: Tensor | slice | None, dtype: torch.dtype, *, normalize: bool) -> Rows:
    """Rows x[index] in the dtype of the computation; scaled to unit length if `normalize`. A zero row stays zero."""
    rows = (x if index is None else x[index]).to(dtype)
    if not normalize:
        return Rows(rows, None)
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if _is_usual(norm):
        is_copy = isinstance(index, Tensor) or x.dtype != dtype
        return Rows(rows.div_(norm) if is_copy else rows / norm, norm)
    factors = _factors(norm)
    rows = rows * factors
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    norm.masked_fill_(norm == 0, torch.inf)
    return Rows(rows.div_(norm), norm.div_(factors))


def through_norm_(grad: Tensor, rows: Rows) -> Tensor:
    """Turn the gradient of `rows.unit` into that of the rows they came from, in place."""
    if rows.norm is None:
        return grad
    radial = torch.linalg.vecdot(grad, rows.unit)[:, None]
    return grad.addcmul_(rows.unit, radial, value=-1.0).div_(rows.norm)


def _is_usual(norm: Tensor) -> bool:
    """Whether all rows are of a usual length; False where nobody may look (or would have to wait for a GPU)."""
    if torch.compiler.is_compiling() or norm.device.type != "cpu" or is_transformed():
        return False
    usual = USUAL[norm.dtype]
    return torch.equal(norm.clamp(usual.low, usual.high), norm)  # false for NaN too


def _factors(norm: Tensor) -> Tensor:
    """(n, 1) powers of 2 that bring rows of these lengths, as a sum of squares has them, to a usual one."""
    usual = USUAL[norm.dtype]
    return torch.where(norm > usual.high, usual.down, torch.where(norm < usual.low, usual.up, torch.ones_like(norm)))


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """No autocast on this tensor's device; where there is none, nothing: entering it costs three small operations."""
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def is_transformed() -> bool:
    """Whether forward-mode differentiation, or a transform of torch.func (vmap, grad, jvp, ...), is under way.

    What is differentiated by hand, and the operators of compiled code, know of neither: a forward derivative would
    silently be 0. And under vmap nobody may look at a number.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
