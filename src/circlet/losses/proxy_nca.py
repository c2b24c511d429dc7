"""Proxy-NCA."""

from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Scale


class ProxyNCALoss(PairLoss):
    """Proxy-NCA: the share of an anchor's own proxies among all proxies, weighted by e^(gamma cos), as a cross-entropy.

    L = -log( sum_i e^(gamma s_p^i) / sum over all proxies of e^(gamma s) ) per anchor. The proxies are class weights;
    with one for each class it is `NormFaceLoss`. gamma: scale, > 0; twice the scale of squared Euclidean distances of
    unit vectors, |x - p|^2 = 2 - 2 cos. The own proxy is in the denominator, as in Teh et al. and
    pytorch-metric-learning; the first paper leaves it out. Sources: Movshovitz-Attias et al., ICCV 2017; Teh et al.
    (ProxyNCA++), ECCV 2020.
    """

    name: ClassVar[str] = "proxy_nca"
    title: ClassVar[str] = "Proxy-NCA"
    level: ClassVar[Level] = "class"

    gamma: float = Scale(default=20.0)

    def form(self) -> Form:
        """One near proxy of the class is enough."""
        return Form(rules.ConstantMargin(0.0, self.gamma), positives="softmin")
