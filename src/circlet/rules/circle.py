"""Circle: the self-paced weights and margins of Circle loss, and their short form.

With c = max(s, -m) for the negatives and c = min(s - 1, m) for the positives the logits need two passes over a tile:

    gamma [s+m]+ (s - m)           = gamma (c^2 - m^2)    and    gamma [s+m]+    = gamma (c + m),
    -gamma [1+m-s]+ (s - (1 - m))  = gamma (c^2 - m^2)    and    -gamma [1+m-s]+ = gamma (c - m).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.similarity.pairs import Rule
from circlet.similarity.short_form import Fused, Kernel, Sides, add_shift


@dataclass(frozen=True)
class Circle(Rule):
    """Self-paced weights and margins of Circle loss: O_p = 1+m, O_n = -m, Delta_p = 1-m, Delta_n = m (Eq. 8)."""

    margin: float = 0.25
    gamma: float = 256.0

    def __post_init__(self) -> None:
        self.check_finite("margin")
        self.check_scale("gamma")

    def positive(self, s: Tensor) -> Tensor:
        """Logit of a positive with similarity `s`: -gamma alpha_p (s_p - Delta_p), alpha_p detached."""
        return self._positive_weight(s).detach() * (s - (1.0 - self.margin))

    def negative(self, s: Tensor) -> Tensor:
        """Logit of a negative with similarity `s`: gamma alpha_n (s_n - Delta_n), alpha_n detached."""
        return self._negative_weight(s).detach() * (s - self.margin)

    def positive_slope(self, s: Tensor) -> Tensor:
        """-gamma alpha_p, alpha_p = [1 + m - s_p]+ (Eq. 5)."""
        return self._positive_weight(s)

    def negative_slope(self, s: Tensor) -> Tensor:
        """Gamma alpha_n, alpha_n = [s_n + m]+ (Eq. 5)."""
        return self._negative_weight(s)

    @property
    def scales(self) -> tuple[float, float]:
        """Gamma for both."""
        return self.gamma, self.gamma

    def short_form(self) -> Sides:
        """Squares on both sides."""
        sides = (SelfPaced(self.margin, self.gamma, positive=side) for side in (True, False))
        return Sides(*sides)

    def _positive_weight(self, s: Tensor) -> Tensor:
        return -self.gamma * (1.0 + self.margin - s).clamp(min=0)

    def _negative_weight(self, s: Tensor) -> Tensor:
        return self.gamma * (s + self.margin).clamp(min=0)

    def kernel(self) -> Kernel:
        """In the GPU kernels."""
        return Kernel("Circle", (self.gamma, self.margin, 1.0 - self.margin, 1.0 + self.margin))


@dataclass(frozen=True)
class SelfPaced:
    """Short form of one side: gamma (c^2 - m^2), and gamma (c + m) or gamma (c - m)."""

    margin: float
    scale: float
    positive: bool

    @property
    def offset(self) -> float:
        """-gamma m^2."""
        return -self.scale * self.margin**2

    @property
    def fused(self) -> Fused:
        """With -c for the c of the positives."""
        return Fused(squared=True, floor=-self.margin, level=self.margin, flipped=self.positive)

    def affine(self, s: Tensor, rate: float, shift: Tensor | None, out: Tensor) -> Tensor:
        """c^2 for q."""
        c = self._c(s, out)
        return add_shift(c.mul_(c), rate, shift, out)

    def affine_and_slope(
        self, s: Tensor, rate: float, shift: Tensor | None, out: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """c^2 for q, and c + m or c - m."""
        c = self._c(s, out[1])
        q = torch.mul(c, c, out=out[0])
        return q if shift is None else add_shift(q, rate, shift, out[0]), c.add_(
            -self.margin if self.positive else self.margin
        )

    def _c(self, s: Tensor, out: Tensor) -> Tensor:
        if self.positive:
            return torch.sub(s, 1.0, out=out).clamp_(max=self.margin)
        return torch.clamp(s, min=-self.margin, out=out)
