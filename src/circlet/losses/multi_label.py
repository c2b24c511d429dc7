"""A loss for samples of several labels."""

from typing import ClassVar

from circlet import aggregate, rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class MultiLabelLoss(PairLoss):
    """Multi-label loss: log[1 + sum_i e^(-gamma (s_p^i - t))] + log[1 + sum_j e^(gamma (s_n^j - t))] per anchor.

    For samples of several classes, or of none: `positive_mask` (batch, num_classes) says which,
    `loss(embeddings, None, class_weights, positive_mask=mask)`. Classes of a sample are to be above the threshold t,
    all others below; a sample without any class counts. gamma: scale, > 0. threshold: cosine similarity.
    Source: Su et al. (ZLPR), 2022, Eq. 4, whose logits are gamma (s - t) here.
    """

    title: ClassVar[str] = "Multi-label"
    level: ClassVar[Level] = "class"

    gamma: float = Scale(default=32.0)
    threshold: float = Margin(default=0.3, text="the cosine similarity between positives and negatives")

    def form(self) -> Form:
        """One threshold, two softplus, and anchors with a side alone."""
        rule = rules.TwoScales(self.gamma, self.gamma, self.threshold)
        return Form(rule, aggregate.SeparateSoftplus(), average="either")
