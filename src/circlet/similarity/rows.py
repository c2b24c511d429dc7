"""Rows: embeddings as the kernels take them (unit length, fp32 or fp64), and the way back of their gradient.

With r = 1 / |x| and g the gradient of the unit row x^ = r x:    dx = r (g - (g . x^) x^);    a zero row: 0.

Every finite row but zero keeps its direction, however long or short. The squares of a long row overflow, those of a
short one vanish: such a row is multiplied by a power of 2 before its length is taken, which rounds nothing. All others
stay as they are, to the bit. As r multiplies nothing and |x| divides, a gradient is infinite only where no number of
its dtype is large enough for it.

Where the user lets fp32 be multiplied in bf16, rows that came in bf16 are multiplied as they came, which rounds
nothing, and what comes out is scaled: no similarity is rounded then, only the gradient with respect to them.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from circlet.similarity.native import native


class Rows(NamedTuple):
    """`rows`: (n, D) as they are multiplied. `norm`: (n, 1) the lengths of what came in, or None.

    factor: (n, 1) what makes `rows` unit rows, or None: they are. The length of a zero row counts as infinite, so that
    nothing passes, either way.
    """

    rows: Tensor
    norm: Tensor | None
    factor: Tensor | None = None

    def part(self, a: int, b: int) -> "Rows":
        """Rows [a, b)."""
        return Rows(*(None if each is None else each[a:b] for each in self))  # type: ignore[arg-type]

    def products(self, other: "Rows", out: Tensor | None = None) -> Tensor:
        """(n, m) inner products with other rows, as they are."""
        return torch.mm(self.rows, other.rows.T, out=out)

    def similarities(self, other: "Rows", out: Tensor | None = None) -> Tensor:
        """(n, m) inner products with other rows, of unit length."""
        return self.scale_(self.products(other, out), other)

    def scale_(self, s: Tensor, other: "Rows") -> Tensor:
        """Products of these and of other rows to those of unit rows, or their gradient on its way back, in place."""
        if self.factor is not None:
            s.mul_(self.factor)
        if other.factor is not None:
            s.mul_(other.factor.T)
        return s


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


def prepare(
    x: Tensor,
    index: Tensor | slice | None,
    dtype: torch.dtype,
    *,
    normalize: bool,
    out: Tensor | None = None,
    as_they_are: bool = False,
) -> Rows:
    """Rows x[index] in the dtype of the computation; scaled to unit length if `normalize`. A zero row stays zero.

    out: memory of the shape of the rows, that they may take. as_they_are: leave them, with the factors that make unit
    rows of them, where that costs no digit.
    """
    in_16_bits = x.dtype == torch.bfloat16 and products_in_bf16(x.device)
    kernels = native(dtype, x.device) if normalize and not in_16_bits else None
    if kernels is not None and isinstance(index, Tensor) and x.dtype == dtype and x.stride(1) == 1:
        place = x.new_empty(len(index), x.shape[1])
        return Rows(place, kernels.unit(x, index.contiguous(), place, USUAL[dtype]))
    rows = (x if index is None else x[index]).to(dtype)
    if not normalize:
        return Rows(rows, None)
    is_copy = isinstance(index, Tensor) or x.dtype != dtype
    place = rows if is_copy else torch.empty_like(rows) if out is None else out
    if kernels is not None and rows.stride(1) == 1:
        norm = kernels.lengths(rows, USUAL[dtype]) if as_they_are else None
        if norm is not None:
            return Rows(rows, norm, norm.reciprocal())
        return Rows(place, kernels.unit(rows, None, place, USUAL[dtype]))
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if _is_usual(norm):
        return _as_they_came(rows, norm) if in_16_bits else Rows(torch.div(rows, norm, out=place), norm)
    factors = _factors(norm)
    rows = rows * factors
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    norm.masked_fill_(norm == 0, torch.inf)
    if in_16_bits:
        found = _as_they_came(rows, norm)
        return found._replace(norm=norm.div_(factors))
    return Rows(rows.div_(norm), norm.div_(factors))


def products_in_bf16(device: torch.device) -> bool:
    """Whether the user lets this device multiply fp32 in bf16 (torch.set_float32_matmul_precision("medium")).

    Asked of a CPU alone: other devices multiply in TF32 then, or have kernels of their own.
    """
    return device.type == "cpu" and torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # type: ignore[attr-defined]


def _as_they_came(rows: Tensor, norm: Tensor) -> Rows:
    """Rows to a length of 1/2 to 1 by a power of 2 each, which keeps all their digits, in place."""
    share, exponent = torch.frexp(norm)
    empty = norm == torch.inf
    rows.mul_(torch.ldexp(torch.ones_like(norm), -exponent.masked_fill(empty, 0)))
    return Rows(rows, norm, share.masked_fill_(empty, 1.0).reciprocal_())


def through_norm_(grad: Tensor, rows: Rows) -> Tensor:
    """Turn the gradient of unit rows, times `rows.factor` where there is one, into that of what came in, in place."""
    if rows.norm is None:
        return grad
    kernels = native(grad.dtype, grad.device)
    if kernels is not None and grad.stride(1) == rows.rows.stride(1) == 1:
        kernels.through_norm(grad, rows.rows, rows.norm, rows.factor)
        return grad
    radial = torch.linalg.vecdot(grad, rows.rows)[:, None]
    if rows.factor is None:
        return grad.addcmul_(rows.rows, radial, value=-1.0).div_(rows.norm)
    return grad.addcmul_(rows.rows, radial.mul_(rows.factor**2), value=-1.0).div_(rows.norm * rows.factor)


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
