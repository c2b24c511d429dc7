"""A scale for each side."""

from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.similarity.pairs import Rule
from circlet.similarity.short_form import Kernel, Linear, Sides


@dataclass(frozen=True)
class TwoScales(Rule):
    """Multi-Similarity: positives and negatives have a scale each, around one threshold `base`."""

    alpha: float = 2.0
    beta: float = 50.0
    base: float = 0.5

    def __post_init__(self) -> None:
        self.check_scale("alpha")
        self.check_scale("beta")
        self.check_finite("base")

    def positive(self, s: Tensor) -> Tensor:
        """-alpha (s_p - base)."""
        return -self.alpha * (s - self.base)

    def negative(self, s: Tensor) -> Tensor:
        """Beta (s_n - base)."""
        return self.beta * (s - self.base)

    def positive_slope(self, s: Tensor) -> Tensor:
        """-alpha, everywhere."""
        return torch.full_like(s, -self.alpha)

    def negative_slope(self, s: Tensor) -> Tensor:
        """Beta, everywhere."""
        return torch.full_like(s, self.beta)

    @property
    def scales(self) -> tuple[float, float]:
        """Alpha and beta."""
        return self.alpha, self.beta

    def short_form(self) -> Sides:
        """Both sides are linear."""
        return Sides(
            Linear(self.alpha, self.alpha * (self.base - 1.0), flipped=True), Linear(self.beta, -self.beta * self.base)
        )

    def kernel(self) -> Kernel:
        """In the GPU kernels."""
        return Kernel("TwoScales", (self.alpha, self.beta, self.base, 0.0))
