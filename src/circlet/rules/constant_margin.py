"""One scale and one constant margin."""

from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.similarity.pairs import Rule
from circlet.similarity.short_form import Kernel, Linear, Sides


@dataclass(frozen=True)
class ConstantMargin(Rule):
    """One scale and one constant margin: the unified loss as it stands (Eq. 1), and AM-Softmax (Eq. 2)."""

    margin: float = 0.35
    gamma: float = 64.0

    def __post_init__(self) -> None:
        self.check_finite("margin")
        self.check_scale("gamma")

    def positive(self, s: Tensor) -> Tensor:
        """-gamma (s_p - m)."""
        return -self.gamma * (s - self.margin)

    def negative(self, s: Tensor) -> Tensor:
        """Gamma s_n."""
        return self.gamma * s

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
        return Sides(Linear(self.gamma, self.gamma * (self.margin - 1.0), flipped=True), Linear(self.gamma))

    def kernel(self) -> Kernel:
        """In the GPU kernels."""
        return Kernel("ConstantMargin", (self.gamma, self.margin, 0.0, 0.0))
