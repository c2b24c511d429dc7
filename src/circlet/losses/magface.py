"""MagFace."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form, Rows
from circlet.losses.hyper_parameters import Margin, Number, Scale
from circlet.rules.angular_margin import cosine_of_sum
from circlet.similarity import Rule


class MagFaceLoss(PairLoss):
    """MagFace: ArcFace with a margin that grows with the norm a of the embedding, and a reward for large norms.

    margin(a) goes from l_margin at l_a to u_margin at u_a; a is held within these bounds. Added to each anchor's loss
    is lambda_g g(a), g(a) = 1 / a + a / u_a^2. Both have gradients by a: the loss lets easy samples grow and hard ones
    shrink, so that the norm tells an image's quality. Beyond the angle pi - margin the target's logit goes on as in
    `ArcFaceLoss`.

    l_a, u_a: norms. l_margin, u_margin: radians. gamma: scale, > 0. lambda_g: weight of g; at least
    gamma K u_a^2 l_a^2 / (u_a^2 - l_a^2), K the slope of the margin, for the paper's proof of convergence.
    Source: Meng et al., CVPR 2021, Eq. 3.
    """

    name: ClassVar[str] = "magface"
    title: ClassVar[str] = "MagFace"
    level: ClassVar[Level] = "class"

    l_margin: float = Margin(default=0.45, low=0.0, high=1.57, text="radians")
    u_margin: float = Margin(default=0.8, low=0.0, high=1.57, text="radians")
    gamma: float = Scale(default=64.0)
    l_a: float = Number(default=10.0, low=1e-3, text="least norm")
    u_a: float = Number(default=110.0, low=1e-3, text="largest norm")
    lambda_g: float = Number(default=20.0, low=0.0, text="weight of the reward for large norms")

    def check(self) -> None:
        """ValueError if the bounds of the norms are in the wrong order; then as every loss."""
        if self.l_a >= self.u_a:
            raise ValueError(f"MagFaceLoss: l_a, u_a: found {self.l_a} and {self.u_a}, expected l_a below u_a")
        super().check()

    def form(self) -> Form:
        """Margins by the embeddings' norms, and what the norms cost by themselves."""
        of_norms = ByMagnitude(self.l_margin, self.u_margin, self.gamma, self.l_a, self.u_a, self.lambda_g)
        return Form(of_norms, penalty=of_norms.penalty)


@dataclass(frozen=True)
class ByMagnitude:
    """A rule for each anchor, and a penalty, by its norm."""

    l_margin: float
    u_margin: float
    gamma: float
    l_a: float
    u_a: float
    lambda_g: float

    def for_rows(self, rows: Rows) -> Rule:
        """The rule of these anchors."""
        slope = (self.u_margin - self.l_margin) / (self.u_a - self.l_a)
        return AngularMargins(self.l_margin + slope * (self._magnitude(rows) - self.l_a), self.gamma)

    def penalty(self, rows: Rows) -> Tensor:
        """lambda_g (1 / a + a / u_a^2)."""
        a = self._magnitude(rows)
        return self.lambda_g * (1.0 / a + a / self.u_a**2)

    def _magnitude(self, rows: Rows) -> Tensor:
        return rows.norms.clamp(self.l_a, self.u_a)


@dataclass(frozen=True)
class AngularMargins(Rule):
    """`rules.AngularMargin` with a margin (rows, 1) for each anchor, which may be differentiated."""

    margin: Tensor
    gamma: float

    def positive(self, s: Tensor) -> Tensor:
        """-gamma cos(theta + m); -gamma (s_p - m sin m) where theta > pi - m."""
        cosine, sine = self.margin.cos(), self.margin.sin()
        beyond = s < (math.pi - self.margin).cos()
        return -self.gamma * torch.where(beyond, s - self.margin * sine, cosine_of_sum(s, cosine, sine))

    def negative(self, s: Tensor) -> Tensor:
        """Gamma s_n."""
        return self.gamma * s

    @property
    def scales(self) -> tuple[float, float]:
        """Gamma for both."""
        return self.gamma, self.gamma
