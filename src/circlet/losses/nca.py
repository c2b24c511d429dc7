"""Neighbourhood component analysis."""

from typing import ClassVar

from circlet import rules
from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Scale


class NCALoss(PairLoss):
    """Neighbourhood component analysis on cosine: the chance that an anchor picks a positive among all its pairs.

    L = -log( sum_i e^(gamma s_p^i) / sum over all pairs of e^(gamma s) ) per anchor: one near positive is enough.
    gamma: scale, > 0. Source: Goldberger et al., NeurIPS 2004, of the log-probability.
    """

    title: ClassVar[str] = "NCA"

    gamma: float = Scale(default=20.0)

    def form(self) -> Form:
        """The easiest positive against all negatives."""
        return Form(rules.ConstantMargin(0.0, self.gamma), positives="softmin")
