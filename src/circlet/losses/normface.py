"""NormFace."""

from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Scale


class NormFaceLoss(PairLoss):
    """NormFace: softmax cross-entropy on gamma cos: AM-Softmax without its margin (Eq. 2, m = 0).

    gamma: scale, > 0. Source: Wang et al., "NormFace", 2017.
    """

    name: ClassVar[str] = "normface"
    title: ClassVar[str] = "NormFace"
    level: ClassVar[Level] = "class"

    gamma: float = Scale(default=rules.ConstantMargin.gamma)

    def form(self) -> Form:
        """A scale alone."""
        return Form(rules.ConstantMargin(0.0, self.gamma))
