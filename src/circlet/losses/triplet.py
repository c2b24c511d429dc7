"""Triplet losses on cosine: which triplets are met, and what is made of one."""

from typing import ClassVar

from circlet import aggregate, rules
from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin


class TripletLoss(PairLoss):
    """Triplet loss with batch-hard mining, on cosine: [max_j s_n^j - min_i s_p^i + m]+ per anchor (Eq. 3).

    The limit of `UnifiedLoss` / gamma for gamma to infinity. margin: in units of cosine similarity. Equally hard pairs
    share the gradient. Source: Hermans et al. 2017.
    """

    title: ClassVar[str] = "Triplet (batch-hard)"

    margin: float = Margin(default=0.3)

    def form(self) -> Form:
        """The hardest of either side, a hinge."""
        return Form(rules.ConstantMargin(self.margin, 1.0), aggregate.hinge, positives="max", negatives="max")


class SoftMarginTripletLoss(PairLoss):
    """Triplet loss with batch-hard mining and a soft margin, on cosine: log(1 + exp(max_j s_n^j - min_i s_p^i)).

    Never quite 0: pairs are pulled however well they are apart. Source: Hermans et al. 2017, section 3.2.
    """

    title: ClassVar[str] = "Triplet (soft margin)"

    def form(self) -> Form:
        """The hardest of either side, a softplus."""
        return Form(rules.ConstantMargin(0.0, 1.0), positives="max", negatives="max")


class SemiHardTripletLoss(PairLoss):
    """Triplet loss with semi-hard negatives, on cosine: for each positive the hardest negative that it beats.

    [s_n - s_p^i + m]+ with s_n the largest below s_p^i, averaged over the anchor's positives that beat a negative; the
    others have no semi-hard triplet and do not count. margin: in units of cosine similarity.
    Source: Schroff et al. (FaceNet), CVPR 2015, section 3.2.
    """

    title: ClassVar[str] = "Triplet (semi-hard)"

    margin: float = Margin(default=0.3)

    def form(self) -> Form:
        """Each positive against the hardest negative below it, a hinge."""
        rule = rules.ConstantMargin(self.margin, 1.0)
        return Form(rule, aggregate.hinge, positives="each", negatives="semi_hard")
