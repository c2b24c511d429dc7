"""Lifted-Structure loss."""

from circlet import aggregate, rules
from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class LiftedStructureLoss(PairLoss):
    """Lifted-Structure loss per anchor: [log sum_j e^(gamma (s_n^j + m)) + log sum_i e^(-gamma s_p^i)]+.

    The per-anchor form of Hermans et al. 2017 (Eq. 11), on cosine similarity in place of the negative distance and
    without the square of Oh Song et al., CVPR 2016. margin: in units of cosine similarity. gamma: scale, > 0.
    """

    margin: float = Margin(default=0.5)
    gamma: float = Scale(default=rules.ConstantMargin.gamma)

    def form(self) -> Form:
        """The unified loss with a hinge."""
        return Form(rules.ConstantMargin(self.margin, self.gamma), aggregate.hinge)
