"""P2SGrad's loss."""

from typing import ClassVar

from circlet import aggregate, rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form


class P2SGradLoss(PairLoss):
    """P2SGrad: sum_i (1 - s_p^i)^2 + sum_j (s_n^j)^2 per anchor, whose gradient is a cosine's distance from its target.

    Without any hyper-parameter. The paper defines a gradient alone; this is the loss that has it (times 2), and
    num_classes times the mean squared error of pytorch-metric-learning. Source: Zhang et al., CVPR 2019.
    """

    name: ClassVar[str] = "p2s_grad"
    title: ClassVar[str] = "P2SGrad"
    level: ClassVar[Level] = "class"

    def form(self) -> Form:
        """Sums of squares on both sides."""
        return Form(rules.Squares(), aggregate.Separate(), positives="sum", negatives="sum", average="either")
