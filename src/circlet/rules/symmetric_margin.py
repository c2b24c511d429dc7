"""A margin on both sides of similarity 0."""

from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.similarity.pairs import Rule
from circlet.similarity.short_form import Linear, Sides


@dataclass(frozen=True)
class SymmetricMargin(Rule):
    """Proxy-Anchor: positives are to be above m, negatives below -m."""

    margin: float = 0.1
    gamma: float = 32.0

    def __post_init__(self) -> None:
        self.check_finite("margin")
        self.check_scale("gamma")

    def positive(self, s: Tensor) -> Tensor:
        """-gamma (s_p - m)."""
        return -self.gamma * (s - self.margin)

    def negative(self, s: Tensor) -> Tensor:
        """Gamma (s_n + m)."""
        return self.gamma * (s + self.margin)

    def positive_slope(self, s: Tensor) -> Tensor:
        """-gamma, everywhere."""
        return torch.full_like(s, -self.gamma)

    def negative_slope(self, s: Tensor) -> Tensor:
        """Gamma, everywhere."""
        return torch.full_like(s, self.gamma)

    @property
    def scales(self) -> tuple[float, float]:
        """Gamma for both."""
        return self.gamma, self.gamma

    def short_form(self) -> Sides:
        """Both sides are linear."""
        return Sides(
            Linear(self.gamma, self.gamma * (self.margin - 1.0), flipped=True),
            Linear(self.gamma, self.gamma * self.margin),
        )
