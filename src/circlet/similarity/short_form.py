"""Short forms: the sides of a rule as the tiles take them, in the fewest passes.

A rule may offer one for each side (`Rule.short_form`); `General` is that of any rule, by its own functions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class ShortForm(Protocol):
    """One side (positive or negative) of a rule in the fewest passes over a tile.

        logit(s) = scale q(s) + offset,    slope(s) = scale unit_slope(s),    scale > 0

    The affine part costs nothing: it goes into the fused multiply-add before the exponential. The functions may use
    the buffers `out` (of the shape of `s`), and may give `s` itself.
    """

    @property
    def scale(self) -> float:
        """Factor of `q` and of the unit slope, > 0."""

    @property
    def offset(self) -> float:
        """Constant of the logit."""

    @property
    def fused(self) -> "Fused | None":
        """The side as `similarity.native` takes it; None: in passes."""

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """Rate q + shift, for a shift that broadcasts; without one, q itself (the rate is then 1)."""

    def affine_and_slope(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """`affine`, and the unit slope (None: 1)."""


class Fused(NamedTuple):
    """A side in one pass, of t = s, or of t = 1 - s if flipped: the unit slope is then minus the following.

    squared: q = c^2 and the unit slope c + level, for c = max(t, floor); else q = t, and the unit slope 1.
    """

    squared: bool
    floor: float
    level: float
    flipped: bool = False


class Sides(NamedTuple):
    """The short forms of both sides of a rule."""

    pos: ShortForm
    neg: ShortForm


class Kernel(NamedTuple):
    """A rule in the GPU kernels: the name of its formula in `similarity.gpu.logits`, and the formula's four numbers."""

    formula: str
    numbers: tuple[float, float, float, float]


@dataclass(frozen=True)
class General:
    """Any side of any rule, by its own functions."""

    logit: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    scale: float = 1.0
    offset: float = 0.0
    fused = None

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """The logit itself for q."""
        return add_shift(self.logit(s), rate, shift, out)

    def affine_and_slope(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Logit and slope."""
        return self.affine(s, rate, shift, out[0]), self.slope(s)


@dataclass(frozen=True)
class Linear:
    """scale s + offset; or scale (1 - s) + offset if flipped."""

    scale: float
    offset: float = 0.0
    flipped: bool = False

    @property
    def fused(self) -> Fused:
        """As it is."""
        return Fused(squared=False, floor=-math.inf, level=1.0, flipped=self.flipped)

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """The similarity, or 1 minus it, for q."""
        if not self.flipped:
            return add_shift(s, rate, shift, out)
        return add_shift(torch.sub(s, 1.0, out=out).neg_(), rate, shift, out)

    def affine_and_slope(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The same, and a constant slope."""
        return self.affine(s, rate, shift, out[0]), out[1].fill_(-1.0) if self.flipped else None


def add_shift(q: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
    """Rate q + shift in `out`; q itself without a shift."""
    return q if shift is None else torch.add(shift, q, alpha=rate, out=out)
