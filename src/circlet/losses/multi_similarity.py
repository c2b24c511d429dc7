"""Multi-Similarity loss."""

from circlet import aggregate, rules
from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class MultiSimilarityLoss(PairLoss):
    """Multi-Similarity loss: positives and negatives in a softplus each, with a scale each.

    L = log[1 + sum_i e^(-alpha (s_p^i - base))] / alpha + log[1 + sum_j e^(beta (s_n^j - base))] / beta, per anchor.
    Without the pair mining of the paper's section 3.3. As in most losses here, an anchor without a positive or
    without a negative has no loss; the authors keep its other half.
    alpha, beta: scales, > 0. base: cosine similarity. Source: Wang et al., CVPR 2019.
    """

    alpha: float = Scale(default=rules.TwoScales.alpha, text="scale of the positives")
    beta: float = Scale(default=rules.TwoScales.beta, text="scale of the negatives")
    base: float = Margin(default=rules.TwoScales.base, text="the cosine similarity that both sides are measured from")

    def form(self) -> Form:
        """Two scales, two softplus."""
        rule = rules.TwoScales(self.alpha, self.beta, self.base)
        return Form(rule, aggregate.SeparateSoftplus(self.alpha, self.beta))
