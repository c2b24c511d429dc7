"""Rule: how one similarity becomes a logit, and the short form in which a rule may offer this to the tiles.

The rules themselves are in `circlet.rules`. A rule has to say two things, `positive` and `negative`; the rest has a
general form that a rule may replace with a faster one of its own. Nothing here, or below, knows a rule by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


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

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """Rate q + shift, for a shift that broadcasts; without one, q itself (the rate is then 1)."""

    def affine_and_slope(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """`affine`, and the unit slope (None: 1)."""


class Sides(NamedTuple):
    """The short forms of both sides of a rule."""

    pos: ShortForm
    neg: ShortForm


class Kernel(NamedTuple):
    """A rule in the GPU kernels: the name of its formula in `similarity.gpu.logits`, and the formula's four numbers."""

    formula: str
    numbers: tuple[float, float, float, float]


class Rule:
    """How a similarity becomes a logit: the base of every rule. Subclass it as a frozen dataclass of numbers.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Squared(Rule):
    ...     gamma: float = 16.0
    ...     def positive(self, s):
    ...         return self.gamma * (1 - s).square()
    ...     def negative(self, s):
    ...         return self.gamma * s.clamp(min=0).square()
    >>> Squared().negative_slope(torch.tensor([0.5]))
    tensor([16.])

    A large *positive* logit means a positive that is still too *dissimilar*. The functions are elementwise and
    shape-free. A rule that holds tensors (learnt numbers) is differentiated by autograd, densely.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        """What a rule inherits must still be its own: a new logit drops the slope and the short forms of its parent."""
        super().__init_subclass__(**keywords)
        own = cls.__dict__
        for side in ("positive", "negative"):
            if side in own and f"{side}_slope" not in own:
                setattr(cls, f"{side}_slope", getattr(Rule, f"{side}_slope"))
        if own.keys() & {"positive", "negative", "positive_slope", "negative_slope"}:
            for name in ("short_form", "kernel"):
                if name not in own:
                    setattr(cls, name, getattr(Rule, name))

    def positive(self, s: Tensor) -> Tensor:
        """Logits of positives with similarities `s`."""
        raise NotImplementedError(f"{type(self).__name__}: has no positive(s), expected the logit of a positive")

    def negative(self, s: Tensor) -> Tensor:
        """Logits of negatives with similarities `s`."""
        raise NotImplementedError(f"{type(self).__name__}: has no negative(s), expected the logit of a negative")

    def positive_slope(self, s: Tensor) -> Tensor:
        """Slope d logit / d s of positives; by autograd, so that detached factors count as constants."""
        return _slope(self.positive, s)

    def negative_slope(self, s: Tensor) -> Tensor:
        """Slope d logit / d s of negatives; by autograd."""
        return _slope(self.negative, s)

    @property
    def scales(self) -> tuple[float, float]:
        """What the slopes of positives and of negatives are measured in, such as gamma: weights alpha are in these."""
        return 1.0, 1.0

    @property
    def is_constant(self) -> bool:
        """Whether the rule holds no tensors, which may be learnt: only then is it differentiated by hand."""
        return not any(isinstance(value, Tensor | nn.Module) for value in vars(self).values())

    def short_form(self) -> Sides:
        """Both sides as the tiles take them; by the functions above."""
        return Sides(General(self.positive, self.positive_slope), General(self.negative, self.negative_slope))

    def kernel(self) -> Kernel | None:
        """The rule as the GPU kernels take it; None: they do not have it, and it goes another way."""
        return None


@dataclass(frozen=True)
class General:
    """Any side of any rule, by its own functions."""

    logit: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    scale: float = 1.0
    offset: float = 0.0

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
    """scale s + offset."""

    scale: float
    offset: float = 0.0

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """The similarity itself for q."""
        return add_shift(s, rate, shift, out)

    def affine_and_slope(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The similarity, and a constant slope."""
        return self.affine(s, rate, shift, out[0]), None


def add_shift(q: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
    """Rate q + shift in `out`; q itself without a shift."""
    return q if shift is None else torch.add(shift, q, alpha=rate, out=out)


def _slope(logit: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = s.detach().requires_grad_()
        value = logit(leaf)
        if not value.requires_grad:
            return torch.zeros_like(s)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return slope
