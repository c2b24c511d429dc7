"""Proxy-Anchor loss."""

from typing import ClassVar

from circlet import aggregate, rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class ProxyAnchorLoss(PairLoss):
    """Proxy-Anchor: each proxy is an anchor that meets the samples of the batch.

    L = mean over the proxies with a positive of log[1 + sum_i e^(-alpha (s_p^i - m))]
      + mean over the proxies with a negative of log[1 + sum_j e^(alpha (s_n^j + m))].

    The proxies are class weights, one for each class. reduction "none" gives one loss for each proxy, both of its sides
    together. margin: in units of cosine similarity. alpha: scale, > 0. Defaults: the paper's.
    Source: Kim et al., CVPR 2020, Eq. 4.
    """

    name: ClassVar[str] = "proxy_anchor"
    title: ClassVar[str] = "Proxy-Anchor"
    level: ClassVar[Level] = "class"
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "class": ({"margin": 0.1, "alpha": 32.0}, "its paper (fine-grained retrieval)")
    }

    margin: float = Margin(default=0.1)
    alpha: float = Scale(default=32.0)

    def form(self) -> Form:
        """References as anchors, two sides that do not meet."""
        rule = rules.SymmetricMargin(self.margin, self.alpha)
        return Form(rule, aggregate.SeparateSoftplus(), anchors="references", average="sides")
