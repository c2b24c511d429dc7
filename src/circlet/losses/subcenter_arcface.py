"""Sub-centre ArcFace."""

import math
from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class SubCenterArcFaceLoss(PairLoss):
    """Sub-centre ArcFace: ArcFace on classes of several centres, of which the nearest counts.

    Wrongly labelled and hard samples of a class find a centre of their own. Made for class weights of 3 centres a
    class, `ClassWeights(..., centers=3)`. margin: radians, 0 to pi. gamma: scale, > 0.
    Not compiled whole: torch.compile breaks the graph where the centres of a class are counted.
    Source: Deng et al., ECCV 2020.
    """

    name: ClassVar[str] = "subcenter_arcface"
    title: ClassVar[str] = "Sub-centre ArcFace"
    level: ClassVar[Level] = "class"
    num_centers: ClassVar[int] = 3
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "class": ({"margin": 0.5, "gamma": 64.0}, "its paper (faces with wrong labels)")
    }

    margin: float = Margin(default=rules.AngularMargin.margin, low=0.0, high=math.pi - 1e-6, text="radians")
    gamma: float = Scale(default=rules.AngularMargin.gamma)

    def form(self) -> Form:
        """The nearest centre of each class, an angular margin on the target."""
        return Form(rules.AngularMargin(self.margin, self.gamma), within_class="max")
