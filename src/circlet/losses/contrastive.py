"""Contrastive loss and margin loss: each pair by itself, and only as long as it is not yet where it should be."""

from typing import ClassVar

from circlet import aggregate, rules
from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin


class ContrastiveLoss(PairLoss):
    """Contrastive loss on cosine: the mean of [m_p - s_p]+ and that of [s_n - m_n]+, each over the pairs above 0.

    Both means are those of an anchor, and the loss is over the anchors that have any pair; pytorch-metric-learning
    takes them over all pairs of the batch at once. positive_margin, negative_margin: cosine similarities.
    Source: Hadsell et al., CVPR 2006, on similarities and without the squares.
    """

    positive_margin: float = Margin(default=1.0, text="the cosine similarity that positives are to reach")
    negative_margin: float = Margin(default=0.5, text="the cosine similarity that negatives are to stay below")

    def form(self) -> Form:
        """A hinge for each pair, the mean of those that are active."""
        rule = rules.Hinges(self.positive_margin, self.negative_margin)
        return _of_active_pairs(rule)


class MarginLoss(PairLoss):
    """Margin loss: the mean of [d_p - b + m]+ and that of [b + m - d_n]+, each over the pairs above 0, d = |x - y|.

    On unit vectors, with one fixed boundary b; the sampling of negatives by distance is left to the caller. Means as in
    `ContrastiveLoss`. boundary: distance, 0 to 2. margin: in units of distance.
    Source: Wu et al., ICCV 2017, Eq. 5.
    """

    title: ClassVar[str] = "Margin loss"

    boundary: float = Margin(default=1.2, low=0.0, high=2.0, text="Euclidean distance of unit vectors")
    margin: float = Margin(default=0.2, text="in units of Euclidean distance")

    def form(self) -> Form:
        """A hinge for each distance, the mean of those that are active."""
        return _of_active_pairs(rules.DistanceHinges(self.boundary, self.margin))


def _of_active_pairs(rule: rules.Rule) -> Form:
    return Form(rule, aggregate.Separate(), positives="mean_active", negatives="mean_active", average="either")
