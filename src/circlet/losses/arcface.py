"""ArcFace."""

import math
from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class ArcFaceLoss(PairLoss):
    """ArcFace: softmax cross-entropy on gamma cos, with a margin added to the target's angle.

    margin: radians, 0 to pi. gamma: scale, > 0. Beyond the angle pi - margin the target's logit goes on as
    gamma (s - margin sin(margin)). Source: Deng et al., CVPR 2019, Eq. 3.
    """

    name: ClassVar[str] = "arcface"
    title: ClassVar[str] = "ArcFace"
    level: ClassVar[Level] = "class"
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "class": ({"margin": 0.5, "gamma": 64.0}, "the Circle-loss paper (faces, as a baseline)")
    }

    margin: float = Margin(default=rules.AngularMargin.margin, low=0.0, high=math.pi - 1e-6, text="radians")
    gamma: float = Scale(default=rules.AngularMargin.gamma)

    def form(self) -> Form:
        """An angular margin on the target."""
        return Form(rules.AngularMargin(self.margin, self.gamma))
