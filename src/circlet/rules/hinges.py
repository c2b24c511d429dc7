"""Hinges: what a similarity lacks, and nothing once it is where it should be."""

from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.similarity.pairs import Rule

# Below this distance its derivative by the similarity, -1 / d, is cut off: 2 - 2 s is rounding error in fp32.
_SMALLEST_DISTANCE = 1e-3


@dataclass(frozen=True)
class Hinges(Rule):
    """Contrastive loss on similarities: what a positive is below one margin, and a negative above the other."""

    positive_margin: float = 1.0
    negative_margin: float = 0.5

    def __post_init__(self) -> None:
        self.check_finite("positive_margin")
        self.check_finite("negative_margin")

    def positive(self, s: Tensor) -> Tensor:
        """[positive_margin - s_p]+."""
        return (self.positive_margin - s).clamp(min=0)

    def negative(self, s: Tensor) -> Tensor:
        """[s_n - negative_margin]+."""
        return (s - self.negative_margin).clamp(min=0)

    def positive_slope(self, s: Tensor) -> Tensor:
        """-1 below the margin."""
        return torch.where(s < self.positive_margin, -1.0, torch.zeros_like(s))

    def negative_slope(self, s: Tensor) -> Tensor:
        """1 above the margin."""
        return torch.where(s > self.negative_margin, 1.0, torch.zeros_like(s))


@dataclass(frozen=True)
class DistanceHinges(Rule):
    """Margin loss: hinges on the Euclidean distance of unit vectors, sqrt(2 - 2 s), around one boundary."""

    boundary: float = 1.2
    margin: float = 0.2

    def __post_init__(self) -> None:
        self.check_finite("boundary")
        self.check_finite("margin")

    def positive(self, s: Tensor) -> Tensor:
        """[d_p - boundary + margin]+."""
        return (self._distance(s) - self.boundary + self.margin).clamp(min=0)

    def negative(self, s: Tensor) -> Tensor:
        """[boundary + margin - d_n]+."""
        return (self.boundary + self.margin - self._distance(s)).clamp(min=0)

    @staticmethod
    def _distance(s: Tensor) -> Tensor:
        return (2.0 - 2.0 * s).clamp(min=_SMALLEST_DISTANCE**2).sqrt()
