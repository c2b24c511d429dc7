"""InfoNCE, NT-Xent and SupCon: a temperature, and three ways to deal with several positives."""

from typing import ClassVar

from circlet import aggregate, rules
from circlet.losses.base import PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Temperature


class InfoNCELoss(PairLoss):
    """InfoNCE on cosine: -log( e^(s_p/tau) / (e^(s_p/tau) + sum_j e^(s_n^j/tau)) ).

    Exactly that with one positive for each anchor (two views of an image). With more it is Eq. 1 with
    gamma = 1/tau, m = 0, which asks that *every* positive beats every negative; `NTXentLoss` takes each positive by
    itself, `SupConLoss` their mean with all pairs in the denominator. temperature: tau, > 0.
    Sources: van den Oord et al. 2018; Chen et al. (SimCLR), 2020.
    """

    name: ClassVar[str] = "info_nce"
    title: ClassVar[str] = "InfoNCE"

    temperature: float = Temperature(default=0.07)

    def form(self) -> Form:
        """A scale alone."""
        return Form(rules.ConstantMargin(0.0, 1.0 / self.temperature))


class NTXentLoss(PairLoss):
    """NT-Xent with several positives: the mean over an anchor's positives of InfoNCE with that positive alone.

    L = 1/|P| sum_i log[1 + sum_j e^((s_n^j - s_p^i)/tau)] per anchor: the other positives are in no denominator.
    temperature: tau, > 0. Source: Chen et al. (SimCLR), 2020, for labels as pytorch-metric-learning's NTXentLoss, which
    averages over positive pairs where this averages over anchors.
    """

    name: ClassVar[str] = "nt_xent"
    title: ClassVar[str] = "NT-Xent"

    temperature: float = Temperature(default=0.07)

    def form(self) -> Form:
        """Each positive against all negatives."""
        return Form(rules.ConstantMargin(0.0, 1.0 / self.temperature), positives="each")


class SupConLoss(PairLoss):
    """Supervised contrastive loss: the mean over an anchor's positives of their cross-entropy among all pairs.

    L = 1/|P| sum_i -log( e^(s_p^i/tau) / sum over all pairs of e^(s/tau) ) per anchor. temperature: tau, > 0.
    Source: Khosla et al., NeurIPS 2020, Eq. 2 (L_out).
    """

    name: ClassVar[str] = "supcon"
    title: ClassVar[str] = "SupCon"

    temperature: float = Temperature(default=0.1)

    def form(self) -> Form:
        """The mean of the positives, less the log-sum-exp of all pairs."""
        rule = rules.ConstantMargin(0.0, 1.0 / self.temperature)
        return Form(rule, aggregate.add, positives="mean", contrast="all")
