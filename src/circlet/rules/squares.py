"""Squared distances from the target similarities."""

from dataclasses import dataclass

from torch import Tensor

from circlet.similarity.pairs import Rule


@dataclass(frozen=True)
class Squares(Rule):
    """P2SGrad: the squared distance of a similarity from what it should be, 1 for a positive and 0 for a negative."""

    def positive(self, s: Tensor) -> Tensor:
        """(1 - s_p)^2."""
        return (1.0 - s).square()

    def negative(self, s: Tensor) -> Tensor:
        """s_n^2."""
        return s.square()

    def positive_slope(self, s: Tensor) -> Tensor:
        """-2 (1 - s_p)."""
        return -2.0 * (1.0 - s)

    def negative_slope(self, s: Tensor) -> Tensor:
        """2 s_n."""
        return 2.0 * s
