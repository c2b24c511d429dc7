"""Curves: one side of a rule in the form that costs the fewest passes over a tile.

    logit(s) = scale q(s) + offset,    slope(s) = scale bend(s),    scale > 0

The affine part costs nothing: it goes into the fused multiply-add before the exponential. So a linear rule needs no
pass for its logits, and Circle's negatives two, since with c = max(s, -m) and, for the positives, c = min(s - 1, m),

    gamma [s+m]+ (s - m)           = gamma (c^2 - m^2)    and    gamma [s+m]+    = gamma (c + m),
    -gamma [1+m-s]+ (s - (1 - m))  = gamma (c^2 - m^2)    and    -gamma [1+m-s]+ = gamma (c - m).

`Curves` takes the short form of the rules known by their import path, and of any other rule the general one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from circlet.similarity.pairs import Rule
from circlet.similarity.spec import spec_of


class Curve(Protocol):
    """One side of a rule. Its functions may use the buffers `out` (of the shape of `s`), and may give `s` itself."""

    @property
    def scale(self) -> float:
        """Factor of `q` and of `bend`, > 0."""

    @property
    def offset(self) -> float:
        """Constant of the logit."""

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """Rate q + shift, for a shift that broadcasts; without one, q itself (the rate is then 1)."""

    def affine_and_bend(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """`affine`, and slope / scale (None: 1)."""


@dataclass(frozen=True)
class General:
    """Any rule, by its own functions."""

    logit: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    scale: float = 1.0
    offset: float = 0.0

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """The logit itself for q."""
        return _affine(self.logit(s), rate, shift, out)

    def affine_and_bend(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Logit and slope."""
        return self.affine(s, rate, shift, out[0]), self.slope(s)


@dataclass(frozen=True)
class Linear:
    """scale s + offset."""

    scale: float
    offset: float = 0.0

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """The similarity itself for q."""
        return _affine(s, rate, shift, out)

    def affine_and_bend(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The similarity, and a constant slope."""
        return self.affine(s, rate, shift, out[0]), None


@dataclass(frozen=True)
class SelfPaced:
    """Circle: gamma (c^2 - m^2), and gamma (c + m) or gamma (c - m)."""

    margin: float
    scale: float
    positive: bool

    @property
    def offset(self) -> float:
        """-gamma m^2."""
        return -self.scale * self.margin**2

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """c^2 for q."""
        c = self._c(s, out)
        return _affine(c.mul_(c), rate, shift, out)

    def affine_and_bend(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """c^2 for q, and c + m or c - m."""
        c = self._c(s, out[1])
        q = torch.mul(c, c, out=out[0])
        return _affine(q, rate, shift, out[0]), c.add_(-self.margin if self.positive else self.margin)

    def _c(self, s: Tensor, out: Tensor) -> Tensor:
        if self.positive:
            return torch.sub(s, 1.0, out=out).clamp_(max=self.margin)
        return torch.clamp(s, min=-self.margin, out=out)


def _affine(q: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
    return q if shift is None else torch.add(shift, q, alpha=rate, out=out)


class Curves:
    """Both sides of a rule: `pos` and `neg`."""

    def __init__(self, rule: Rule) -> None:
        self.pos: Curve = General(rule.positive, rule.positive_slope)
        self.neg: Curve = General(rule.negative, rule.negative_slope)
        path, numbers = spec_of(rule) or ("", [])
        if path == "circlet.rules:Circle":
            margin, gamma = numbers
            self.pos, self.neg = SelfPaced(margin, gamma, positive=True), SelfPaced(margin, gamma, positive=False)
        elif path in ("circlet.rules:ConstantMargin", "circlet.rules:AngularMargin"):
            self.neg = Linear(numbers[1])
        elif path == "circlet.rules:TwoScales":
            _, beta, base = numbers
            self.neg = Linear(beta, -beta * base)


def rate(curve: Curve, dtype: torch.dtype) -> float:
    """Scale in units of log2 e, as rounded by tensors of this dtype: both passes must use the same number."""
    return float(torch.tensor(curve.scale * LOG2E, dtype=dtype))


def logsumexp(q: Tensor, dim: int, curve: Curve, out: Tensor) -> Tensor:
    """Log of the sum of e^logit along `dim`, in fp64: its rounding is left to whoever adds the tiles up.

    Through 2^x, which torch computes nearly three times as fast as e^x. The shift is taken back exactly as it was
    subtracted, so it costs no accuracy. out: a buffer of the shape of `q`.
    """
    factor = rate(curve, q.dtype)
    peak = q.amax(dim, keepdim=True)
    shift = torch.where(peak == -torch.inf, 0.0, peak * -factor)
    total = torch.add(shift, q, alpha=factor, out=out).exp2_().sum(dim)
    return (total.double().log2() - shift.squeeze(dim).double()) * (curve.scale / factor) + curve.offset


LOG2E = 1.4426950408889634
