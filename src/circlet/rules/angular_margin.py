"""A margin on the angle."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.similarity.pairs import Rule
from circlet.similarity.short_form import General, Kernel, Linear, Sides

# Below this sine the derivative of sin(arccos s) has no useful value: 1 - s^2 is rounding error in fp32.
_SMALLEST_SINE = 1e-3


def cosine_of_sum(s: Tensor, cosine: float | Tensor, sine: float | Tensor) -> Tensor:
    """cos(arccos s + angle) from the angle's cosine and sine; its gradient is finite at s = 1 and -1 too."""
    return s * cosine - (1.0 - s * s).clamp(min=_SMALLEST_SINE**2).sqrt() * sine


@dataclass(frozen=True)
class AngularMargin(Rule):
    """ArcFace: the margin is added to the angle of the positive.

    Beyond the angle pi - m, where cos(theta + m) would rise again, the positive logit goes on as s - m sin(m), as in
    the authors' code. The slope there is 1, so the gradient keeps its sign.
    """

    margin: float = 0.5
    gamma: float = 64.0

    def __post_init__(self) -> None:
        self.check_scale("gamma")
        if not 0 <= self.margin < math.pi:
            raise ValueError(f"margin: found {self.margin}, expected 0 to pi (radians)")

    def positive(self, s: Tensor) -> Tensor:
        """-gamma cos(theta + m), theta = arccos(s_p); -gamma (s_p - m sin m) where theta > pi - m."""
        shifted = cosine_of_sum(s, math.cos(self.margin), math.sin(self.margin))
        return -self.gamma * torch.where(self._beyond(s), s - self.margin * math.sin(self.margin), shifted)

    def negative(self, s: Tensor) -> Tensor:
        """Gamma s_n."""
        return self.gamma * s

    def positive_slope(self, s: Tensor) -> Tensor:
        """-gamma sin(theta + m) / sin(theta); -gamma where theta > pi - m."""
        room = 1.0 - s * s
        sine = room.clamp(min=_SMALLEST_SINE**2).sqrt()
        inside = room > _SMALLEST_SINE**2
        slope = math.cos(self.margin) + torch.where(inside, s / sine, 0.0) * math.sin(self.margin)
        return -self.gamma * torch.where(self._beyond(s), torch.ones_like(s), slope)

    def negative_slope(self, s: Tensor) -> Tensor:
        """Gamma, everywhere."""
        return torch.full_like(s, self.gamma)

    def _beyond(self, s: Tensor) -> Tensor:
        return s < math.cos(math.pi - self.margin)

    @property
    def scales(self) -> tuple[float, float]:
        """Gamma for both."""
        return self.gamma, self.gamma

    def short_form(self) -> Sides:
        """The negatives are linear."""
        return Sides(General(self.positive, self.positive_slope), Linear(self.gamma))

    def kernel(self) -> Kernel:
        """In the GPU kernels."""
        sine = math.sin(self.margin)
        return Kernel("AngularMargin", (self.gamma, math.cos(self.margin), sine, self.margin * sine))
