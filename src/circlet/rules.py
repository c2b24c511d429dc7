r"""Rules: how one similarity becomes a logit, for a positive and for a negative.

A rule is the middle one of the three choices that make a loss (source x rule x aggregate). The aggregates take
the log-sum-exp of these logits, so a *large* positive logit means a positive that is still too *dissimilar*:

    L_uni (Eq. 1) = softplus( lse_j negative(s_n^j) + lse_i positive(s_p^i) )

| rule           | positive(s)                              | negative(s)                | source           |
|----------------|------------------------------------------|----------------------------|------------------|
| Circle         | -gamma [1+m-s]+ (s - (1-m))              | gamma [s+m]+ (s - m)       | Eq. 4 to 6, 8    |
| ConstantMargin | -gamma (s - m)                           | gamma s                    | Eq. 1 and 2      |
| AngularMargin  | -gamma cos(arccos s + m)                 | gamma s                    | ArcFace, Eq. 3   |
| TwoScales      | -alpha (s - base)                        | beta (s - base)            | Multi-Similarity |

Each rule also gives the slope d logit / d s that its gradient uses, for the kernels that write their own backward.
Circle's weights are detached (the paper's Eq. 9 and 10), so its slope is not the derivative of its logit.
The functions are elementwise and shape-free; they know nothing of batches, labels or sums.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Circle:
    """Self-paced weights and margins of Circle loss: O_p = 1+m, O_n = -m, Delta_p = 1-m, Delta_n = m (Eq. 8)."""

    margin: float = 0.25
    gamma: float = 256.0

    def __post_init__(self) -> None:
        _check_scale("gamma", self.gamma)

    def positive(self, s: Tensor) -> Tensor:
        """Logit of a positive with similarity `s`: -gamma alpha_p (s_p - Delta_p), alpha_p detached."""
        return self.positive_slope(s).detach() * (s - (1.0 - self.margin))

    def negative(self, s: Tensor) -> Tensor:
        """Logit of a negative with similarity `s`: gamma alpha_n (s_n - Delta_n), alpha_n detached."""
        return self.negative_slope(s).detach() * (s - self.margin)

    def positive_slope(self, s: Tensor) -> Tensor:
        """-gamma alpha_p, alpha_p = [1 + m - s_p]+ (Eq. 5)."""
        return -self.gamma * (1.0 + self.margin - s).clamp(min=0)

    def negative_slope(self, s: Tensor) -> Tensor:
        """Gamma alpha_n, alpha_n = [s_n + m]+ (Eq. 5)."""
        return self.gamma * (s + self.margin).clamp(min=0)


@dataclass(frozen=True)
class ConstantMargin:
    """One scale and one constant margin: the unified loss as it stands (Eq. 1), and AM-Softmax (Eq. 2)."""

    margin: float = 0.35
    gamma: float = 64.0

    def __post_init__(self) -> None:
        _check_scale("gamma", self.gamma)

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


@dataclass(frozen=True)
class AngularMargin:
    """ArcFace: the margin is added to the angle of the positive.

    Beyond the angle pi - m, where cos(theta + m) would rise again, the positive logit goes on as s - m sin(m), as in
    the authors' code. The slope there is 1, so the gradient keeps its sign.
    """

    margin: float = 0.5
    gamma: float = 64.0

    def __post_init__(self) -> None:
        _check_scale("gamma", self.gamma)
        if not 0 <= self.margin < math.pi:
            raise ValueError(f"margin: found {self.margin}, expected 0 to pi (radians)")

    def positive(self, s: Tensor) -> Tensor:
        """-gamma cos(theta + m), theta = arccos(s_p); -gamma (s_p - m sin m) where theta > pi - m."""
        sine = (1.0 - s * s).clamp(min=_SMALLEST_SINE**2).sqrt()
        shifted = s * math.cos(self.margin) - sine * math.sin(self.margin)
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


@dataclass(frozen=True)
class TwoScales:
    """Multi-Similarity: positives and negatives have a scale each, around one threshold `base`."""

    alpha: float = 2.0
    beta: float = 50.0
    base: float = 0.5

    def __post_init__(self) -> None:
        _check_scale("alpha", self.alpha)
        _check_scale("beta", self.beta)

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


# Below this sine the derivative of sin(arccos s) has no useful value: 1 - s^2 is rounding error in fp32.
_SMALLEST_SINE = 1e-3


def _check_scale(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: found {value}, expected a finite number > 0")
