"""AM-Softmax, also known as CosFace."""

from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class AMSoftmaxLoss(PairLoss):
    """AM-Softmax, also known as CosFace (Eq. 2): softmax cross-entropy on gamma cos, the target's cos less a margin.

    Usually class-level; with several positives it is `UnifiedLoss`. margin: in units of cosine similarity. gamma:
    scale, > 0. Defaults: the paper's baseline for faces.
    Sources: Wang et al., "Additive Margin Softmax" and "CosFace", 2018.
    """

    aliases: ClassVar[tuple[str, ...]] = ("CosFace",)
    title: ClassVar[str] = "AM-Softmax"
    level: ClassVar[Level] = "class"
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "class": ({"margin": 0.35, "gamma": 64.0}, "the Circle-loss paper (faces, as a baseline)")
    }

    margin: float = Margin(default=rules.ConstantMargin.margin)
    gamma: float = Scale(default=rules.ConstantMargin.gamma)

    def form(self) -> Form:
        """A constant margin on the target."""
        return Form(rules.ConstantMargin(self.margin, self.gamma))
