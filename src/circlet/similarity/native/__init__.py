"""The elementwise part of a tile by kernels in C, on a CPU with a C compiler: one pass over a tile instead of six.

| file    | what it is                                                        |
|---------|-------------------------------------------------------------------|
| tile.c  | a block of a tile, for sides that offer a `Fused` form            |
| whole.c | a matrix at once, for any rule; fastest where it is `Fused`       |
| rows.c  | rows to unit length, and back                                     |
| build   | building them, once, and when there are none                      |

The same numbers, to a rounding, as `sums` and `gradients` have by torch's own operations, which is what everything else
takes: fp64, other devices, machines without gcc, CIRCLET_NATIVE=0.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from circlet.similarity.native.build import load
from circlet.similarity.short_form import Fused


class _Form(ctypes.Structure):
    _fields_ = (
        ("squared", ctypes.c_int),
        ("floor", ctypes.c_float),
        ("level", ctypes.c_float),
        ("flipped", ctypes.c_int),
    )


class _Side(ctypes.Structure):
    _fields_ = (("form", _Form), *((name, ctypes.c_double) for name in ("rate", "scale", "offset")))


class _Usual(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_float) for name in ("low", "high", "down", "up"))


class _Place(ctypes.Structure):
    _fields_ = (("row", ctypes.c_int64), ("column", ctypes.c_int64), ("mirrored", ctypes.c_int))


class _Ranges(ctypes.Structure):
    _fields_ = (("low", ctypes.c_void_p), ("high", ctypes.c_void_p), ("own", ctypes.c_int))


class _Arrived(ctypes.Structure):
    _fields_ = (("form", _Form), ("rate", ctypes.c_float), ("shift", ctypes.c_void_p), ("factor", ctypes.c_void_p))


class Met(NamedTuple):
    """Which pairs of a matrix are positive: those of equal labels (int64), or those of the mask (bool).

    own: the columns are the rows, and the diagonal has no pairs.
    """

    labels: Tensor | None
    reference_labels: Tensor | None
    mask: Tensor | None
    own: bool


class Exponent(NamedTuple):
    """A logit is scale (log2 of the term - shift) + offset, the term 2^(rate q + shift); scale: ln 2, to a rounding."""

    rate: float
    scale: float
    offset: float


class Side(NamedTuple):
    """A side of a rule: in which form q is (None: it is given), and how a logit is a power of 2."""

    form: Fused | None
    exponent: Exponent


class Given(NamedTuple):
    """Of a side without a form: q and the unit slopes (None: 1), matrices as the similarities."""

    q: Tensor | None = None
    slope: Tensor | None = None


class Matrix:
    """The sides of a rule and the pairs of a matrix (rows, columns), as the kernels take them."""

    def __init__(self, rows: int, columns: int, sides: tuple[Side, Side], met: Met) -> None:
        assert rows == columns or not met.own
        self.met, self._count = met, rows * columns  # whose memory is to live as long
        labels = _place(met.labels, torch.int64, rows), _place(met.reference_labels, torch.int64, columns)
        mask = _place(met.mask, torch.bool, self._count)
        self.arguments = rows, columns, _side(sides[0]), _side(sides[1]), *labels, mask, met.own

    def places(self, *matrices: Tensor | None) -> list[int | None]:
        """Where they are; beyond one of another size the kernels would read what is not theirs."""
        return [_place(each, torch.float32, self._count) for each in matrices]


@lru_cache(maxsize=64)
def _side(side: Side) -> _Side:
    return _Side(_Form(*(side.form or ())), *side.exponent)


class Place(NamedTuple):
    """Where a block is: its first row is anchor `row`, its first column reference `column`.

    mirrored: its columns are anchors too, numbered as the references.
    """

    row: int
    column: int
    mirrored: bool


class Ranges:
    """The positives of all anchors, places (2, B) of the first and behind the last one among the references, in int64.

    own: the references are the anchors, and one and itself are no pair.
    """

    def __init__(self, ends: Tensor, *, own: bool) -> None:
        self.ends = ends.contiguous()  # whose memory is to live as long
        low, size = _place(self.ends, torch.int64, ends.numel()), ends.shape[1]
        assert low is not None
        self.argument = _Ranges(low, low + size * ends.itemsize, own)


class Arrived:
    """What arrived at a side of all anchors (B,), in fp32: A exp(logit - lse) = factor 2^(rate q + shift)."""

    def __init__(self, form: Fused, rate: float, shift: Tensor, factor: Tensor) -> None:
        self.anchors, self._held = len(shift), (shift, factor)  # whose memory is to live as long
        places = (_place(each, torch.float32, self.anchors) for each in self._held)
        self.argument = _Arrived(_Form(*form), rate, *places)


Both = tuple[Tensor, Tensor]
BothGiven = tuple[Given, Given]


class Native:
    """The kernels. Blocks are fp32 matrices on a CPU whose rows are contiguous."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, stride, number, real = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_double
        block = (pointer, stride, number, number)
        self._add: Callable[..., int] = library.circlet_add
        place, ranges, arrived = (ctypes.POINTER(each) for each in (_Place, _Ranges, _Arrived))
        real_32, number_64 = ctypes.c_float, ctypes.c_int64
        of_side = (_Form, real_32, real_32, real, real)
        self._add.argtypes = (*block, pointer, place, *of_side, ranges, pointer, number_64, pointer, number)
        self._gradient: Callable[..., int] = library.circlet_gradient
        self._gradient.argtypes = (pointer, stride, *block, pointer, place, arrived, arrived, ranges, number)
        self._lse: Callable[..., int] = library.circlet_lse
        side: Any = ctypes.POINTER(_Side)
        of_all = (number, number, side, side, *[pointer] * 3, number)
        self._lse.argtypes = (*[pointer] * 3, *of_all, *[pointer] * 3, number)
        self._lse_gradient: Callable[..., int] = library.circlet_lse_gradient
        self._lse_gradient.argtypes = (*[pointer] * 6, *of_all, *[pointer] * 3, number)
        self._unit: Callable[..., None] = library.circlet_unit
        self._unit.argtypes = (*block, pointer, stride, pointer, _Usual, pointer, number)
        self._unit.restype = None
        self._lengths: Callable[..., int] = library.circlet_lengths
        self._lengths.argtypes = (*block, _Usual, pointer, number)
        self._through_norm: Callable[..., None] = library.circlet_through_norm
        self._through_norm.argtypes = (pointer, stride, *block, pointer, pointer, number)
        self._through_norm.restype = None
        self._mirror: Callable[..., None] = library.circlet_mirror
        self._mirror.argtypes = (pointer, stride, number, number)
        self._mirror.restype = None

    def add(
        self,
        s: Tensor,
        place: Place,
        side: Fused,
        exponent: Exponent,
        shift: float,
        totals: Tensor,
        positives: tuple[Ranges, Tensor] | None,
        scales: Tensor | None = None,
    ) -> bool:
        """Add the log-sum-exps of a block to the `totals` (B,) of its anchors, in fp64, in place.

        By way of the sums of 2^(rate q + shift). False, and nothing is added, where this shift is too coarse for a sum.
        positives: which pairs do not count, and the memory (B, K), in fp32, for their similarities, which are written
        in the order of the references. scales: of the columns (m,), what makes of `s` similarities.
        """
        ranges, near = (None, None) if positives is None else positives
        rate, scale, offset = exponent
        of_side = _Form(*side), rate, shift, scale, offset
        size, most = len(totals), 0 if near is None else near.shape[1]
        of_positives = None if ranges is None else ranges.argument, _place(near, torch.float32, size * most), most
        _check(place, s, size, ranges)
        of_totals = _place(totals, torch.float64, size)
        of_columns = _place(scales, torch.float32, s.shape[1])
        return bool(self._add(*_block(s), of_columns, _Place(*place), *of_side, *of_positives, of_totals, _threads()))

    def gradient(
        self,
        out: Tensor,
        s: Tensor,
        place: Place,
        neg: Arrived,
        positives: tuple[Ranges, Arrived] | None,
        scales: Tensor | None = None,
    ) -> bool:
        """G of a block into `out`, which may be `s`, of negatives; H, if mirrored.

        False, and nothing is written, where the shifts of H are too far apart for one exponential a pair. positives:
        which pairs are positive, and what arrived there. scales: of the columns (m,), what makes of `s` similarities,
        and of their gradient that of `s`.
        """
        ranges, pos = (None, None) if positives is None else positives
        _check(place, s, neg.anchors, ranges)
        assert pos is None or pos.anchors == neg.anchors
        of_positives = None if pos is None else pos.argument, None if ranges is None else ranges.argument
        blocks = *_block(out)[:2], *_block(s), _place(scales, torch.float32, s.shape[1])
        return bool(self._gradient(*blocks, _Place(*place), neg.argument, *of_positives, _threads()))

    def lse(self, s: Tensor, given: BothGiven, matrix: Matrix) -> Tensor:
        """Log-sum-exps (2, rows) in fp64 of the positives and of the negatives; -inf: there are none.

        s: similarities in fp32, contiguous, as all matrices here.
        """
        return self._of_all(s, given, matrix, None, None)

    def mean_softplus(self, s: Tensor, given: BothGiven, matrix: Matrix) -> tuple[Tensor, Tensor, Tensor]:
        """Mean of softplus(pos + neg) over the rows that have both, its slopes (rows,), and the log-sum-exps."""
        mean, slopes = torch.empty(()), torch.empty(len(s))
        return mean, slopes, self._of_all(s, given, matrix, mean.data_ptr(), slopes.data_ptr())

    def _of_all(self, s: Tensor, given: BothGiven, matrix: Matrix, mean: int | None, slopes: int | None) -> Tensor:
        lse = torch.empty(2, len(s), dtype=torch.float64)
        places = matrix.places(s, given[0].q, given[1].q)
        if not self._lse(*places, *matrix.arguments, lse.data_ptr(), mean, slopes, _threads()):
            raise MemoryError("circlet: no memory for the labels of a row")
        return lse

    def lse_gradient(self, s: Tensor, given: BothGiven, matrix: Matrix, lse: Tensor, grads: Both) -> Tensor:
        """Slope e^(logit - lse) grad of each pair (rows, columns), by its kind; 0 where there is none.

        Of a pair both ways, where the columns are the rows. lse: as `lse` gave it. grads: of either kind (rows,) in
        fp32, what arrived there.
        """
        out = torch.empty_like(s)
        pos, neg = grads[0].contiguous(), grads[1].contiguous()  # by names: their memory is to live until the call
        arrived = lse.data_ptr(), _place(pos, torch.float32, len(s)), _place(neg, torch.float32, len(s))
        places = matrix.places(out, s, *given[0], *given[1])
        if not self._lse_gradient(*places, *matrix.arguments, *arrived, _threads()):
            raise MemoryError("circlet: no memory for the labels of a row")
        return out

    def unit(self, x: Tensor, index: Tensor | None, out: Tensor, usual: tuple[float, float, float, float]) -> Tensor:
        """Rows x[index] to unit length into `out` (n, D); their lengths (n, 1), infinite for a zero row.

        index: (n,) places of rows that x has, or None: all, and out may be x. usual: as `rows.USUAL` has it.
        """
        norms = torch.empty(len(out), 1)
        assert len(x) == len(out) if index is None else (index.dtype, index.shape) == (torch.int64, out.shape[:1])
        assert index is None or index.is_contiguous()
        of_rows = None if index is None else index.data_ptr()
        self._unit(*_block(out), *_block(x)[:2], of_rows, _Usual(*usual), norms.data_ptr(), _threads())
        return norms

    def lengths(self, x: Tensor, usual: tuple[float, float, float, float]) -> Tensor | None:
        """Lengths (n, 1) of rows (n, D); None if any is not between the first two of `usual`."""
        norms = torch.empty(len(x), 1)
        return norms if self._lengths(*_block(x), _Usual(*usual), norms.data_ptr(), _threads()) else None

    def through_norm(self, grad: Tensor, rows: Tensor, norm: Tensor, factor: Tensor | None = None) -> None:
        """Turn the gradient (n, D) of unit rows into that of the rows, of lengths (n, 1), they came from, in place.

        factor: (n, 1) what makes unit rows of `rows`, and has multiplied `grad`; None: they are.
        """
        of_rows = (_place(each, torch.float32, len(rows)) for each in (norm, factor))
        self._through_norm(*_block(grad)[:2], *_block(rows), *of_rows, _threads())

    def mirror(self, s: Tensor) -> None:
        """Copy what is above the diagonal of the square `s` below it."""
        self._mirror(s.data_ptr(), s.stride(0), len(s), _threads())


_threads = torch.get_num_threads

# CIRCLET_NATIVE=0: none of them.
USE_NATIVE = os.environ.get("CIRCLET_NATIVE") != "0"


def native(dtype: torch.dtype, device: torch.device) -> Native | None:
    """The kernels for matrices of this dtype on this device; None: there are none."""
    return _native() if USE_NATIVE and dtype == torch.float32 and device.type == "cpu" else None


@cache
def _native() -> Native | None:
    library = load()
    found = None if library is None else Native(library)
    return found if found is not None and _is_right(found) else None


def _is_right(kernels: Native) -> bool:
    """Whether they compute what they should, by a small example: a compiler is beyond our control."""
    s = torch.linspace(-1.0, 1.0, 7 * 37).view(7, 37)
    totals = torch.full((44,), -torch.inf, dtype=torch.float64)
    place = Place(0, 7, mirrored=True)
    added = kernels.add(s, place, Fused(True, -0.25, 0.25), Exponent(8.0, 1.0, 0.0), -2.0, totals, None)
    terms = torch.exp2(8.0 * s.double().clamp(min=-0.25).square())
    return added and torch.allclose(totals, torch.cat([terms.sum(1), terms.sum(0)]).log2(), rtol=1e-5)


def _place(tensor: Tensor | None, dtype: torch.dtype, count: int) -> int | None:
    """Where it is; None stays None."""
    if tensor is None:
        return None
    assert tensor.dtype == dtype
    assert tensor.numel() == count
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def _check(place: Place, s: Tensor, anchors: int, ranges: Ranges | None) -> None:
    """That the block is of these anchors: beyond them the kernels would read and write what is not theirs."""
    rows, columns = s.shape
    assert 0 <= place.row <= anchors - rows
    assert ranges is None or place.row + rows <= ranges.ends.shape[1]
    assert not place.mirrored or 0 <= place.column <= anchors - columns


def _block(s: Tensor) -> tuple[int, int, int, int]:
    assert s.stride(1) == 1 or s.shape[1] == 1
    return s.data_ptr(), s.stride(0), *s.shape
