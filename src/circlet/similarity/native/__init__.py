"""The elementwise part of a tile by kernels in C, on a CPU with a C compiler: one pass over a tile instead of six.

| file    | what it is                                                     |
|---------|----------------------------------------------------------------|
| tile.c  | the kernels, for fp32 and for sides that offer a `Fused` form   |
| build   | building them, once, and when there are none                    |

The same numbers as `blocks` has by torch's own operations, to a rounding, which is what everything else takes.
CIRCLET_NATIVE=0: none.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from circlet.similarity.native.build import load
from circlet.similarity.short_form import Fused


class _Side(ctypes.Structure):
    _fields_ = (
        ("squared", ctypes.c_int),
        ("floor", ctypes.c_float),
        ("level", ctypes.c_float),
        ("rate", ctypes.c_float),
    )


class Native:
    """The kernels. Blocks are fp32 matrices on a CPU whose rows are contiguous."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, stride, number = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
        block = (pointer, stride, number, number)
        self._sums: Callable[..., Any] = library.circlet_sums
        self._sums.argtypes = (*block, _Side, ctypes.c_float, pointer, pointer, number)
        self._gradient: Callable[..., Any] = library.circlet_gradient
        self._gradient.argtypes = (pointer, stride, *block, _Side, pointer, pointer, pointer, number)
        self._gradient.restype = None
        self._mirror: Callable[..., Any] = library.circlet_mirror
        self._mirror.argtypes = (pointer, stride, number, number)
        self._mirror.restype = None

    def sums(self, s: Tensor, side: Fused, rate: float, shift: float) -> Tensor:
        """Sums of 2^(rate q + shift) over each row, then over each column (rows + columns,), in fp64; -inf: no pair."""
        rows, columns = s.shape
        out = torch.empty(rows + columns, dtype=torch.float64)
        places = out.data_ptr(), out.data_ptr() + rows * out.element_size()
        if not self._sums(*_block(s), _Side(*side, rate), shift, *places, torch.get_num_threads()):
            raise MemoryError(f"circlet: no memory for the sums of a tile of {rows} x {columns}")
        return out

    def gradient(
        self, out: Tensor, s: Tensor, side: Fused, rate: float, shifts: Tensor, factors: Tensor, other: Tensor | None
    ) -> None:
        """2^(rate q + shifts_i) slope times factors_i, or with those of the columns (factors_i + other_j), into `out`.

        shifts, factors: (rows,). other: (columns,) or None. out: may be `s`.
        """
        of_columns = None if other is None else other.data_ptr()
        pointers = shifts.data_ptr(), factors.data_ptr(), of_columns
        self._gradient(*_block(out)[:2], *_block(s), _Side(*side, rate), *pointers, torch.get_num_threads())

    def mirror(self, s: Tensor) -> None:
        """Copy what is above the diagonal of the square `s` below it."""
        self._mirror(s.data_ptr(), s.stride(0), len(s), torch.get_num_threads())


def native(dtype: torch.dtype, device: torch.device) -> Native | None:
    """The kernels for blocks of this dtype on this device; None: there are none."""
    return _native() if dtype == torch.float32 and device.type == "cpu" else None


@cache
def _native() -> Native | None:
    library = load()
    found = None if library is None else Native(library)
    return found if found is not None and _is_right(found) else None


def _is_right(kernels: Native) -> bool:
    """Whether they compute what they should, by a small example: a compiler is beyond our control."""
    s = torch.linspace(-1.0, 1.0, 7 * 37).view(7, 37)
    sums = kernels.sums(s, Fused(True, -0.25, 0.25), 8.0, -2.0)
    terms = torch.exp2(8.0 * s.double().clamp(min=-0.25).square() - 2.0)
    return torch.allclose(sums, torch.cat([terms.sum(1), terms.sum(0)]), rtol=1e-5)


def _block(s: Tensor) -> tuple[int, int, int, int]:
    assert s.stride(1) == 1 or s.shape[1] == 1
    return s.data_ptr(), s.stride(0), *s.shape
