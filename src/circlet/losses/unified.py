"""The unified loss."""

from circlet import rules
from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class UnifiedLoss(PairLoss):
    """Unified loss of Eq. 1: log[1 + sum_j exp(gamma (s_n^j + m)) sum_i exp(-gamma s_p^i)], per anchor.

    margin: in units of cosine similarity. gamma: scale, > 0.
    """

    margin: float = Margin(default=rules.ConstantMargin.margin)
    gamma: float = Scale(default=rules.ConstantMargin.gamma)

    def form(self) -> Form:
        """One scale, one margin."""
        return Form(rules.ConstantMargin(self.margin, self.gamma))
