"""Softmax cross-entropy, and the N-pair loss: the unified loss on inner products."""

from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form


class SoftmaxLoss(PairLoss):
    """Softmax cross-entropy on inner products, without a bias (Eq. 2 with gamma = 1, m = 0).

    With class weights it equals torch.nn.functional.cross_entropy(embeddings @ weights.T, labels).
    """

    level: ClassVar[Level] = "class"

    def form(self) -> Form:
        """Neither scale nor margin, on inner products."""
        return Form(rules.ConstantMargin(0.0, 1.0), normalize=False)


class NPairLoss(PairLoss):
    """Multi-class N-pair loss: log[1 + sum_j exp(x.n_j - x.p)] on inner products.

    The original has one positive for each anchor: give two samples of each class. With more, Eq. 1 with gamma = 1,
    m = 0. Its L2 penalty on the embeddings is left to the caller. Source: Sohn, NeurIPS 2016, Eq. 6.
    """

    name: ClassVar[str] = "n_pair"
    title: ClassVar[str] = "N-pair"

    def form(self) -> Form:
        """Neither scale nor margin, on inner products."""
        return Form(rules.ConstantMargin(0.0, 1.0), normalize=False)
