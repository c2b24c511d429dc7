"""Circle loss."""

from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form
from circlet.losses.hyper_parameters import Margin, Scale


class CircleLoss(PairLoss):
    """Circle loss (CVPR 2020, Eq. 6 and 8): each similarity is weighted by its distance from its optimum.

    >>> import torch
    >>> from circlet.functional import circle_loss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> print(f"{circle_loss(embeddings, labels, margin=0.4, gamma=80.0):.4f}")
    28.8648
    >>> loss = CircleLoss(margin=0.4, gamma=80.0, reduction="none")
    >>> class_weights = torch.eye(2)
    >>> loss(embeddings, labels, class_weights).shape
    torch.Size([4])

    L = log[1 + sum_j exp(gamma alpha_n^j (s_n^j - m)) sum_i exp(-gamma alpha_p^i (s_p^i - (1 - m)))] per anchor, with
    alpha_n = [s_n + m]+ and alpha_p = [1 + m - s_p]+ detached, as the paper's gradients (Eq. 9 and 10) need.

    margin: the radius of the decision circle is sqrt(2) margin; within-class similarities aim at > 1 - margin,
    between-class ones at < margin. gamma: scale, > 0. Paper settings: class-level faces 0.25, 256 (the default);
    class-level person re-ID 0.25, 128; pair-wise fine-grained retrieval 0.4, 80 with 16 classes x 5 images. Losses in
    the hundreds are normal at the start: warm the learning rate up.
    """

    level: ClassVar[Level] = "pair"
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "pair": ({"margin": 0.4, "gamma": 80.0}, "the Circle-loss paper (fine-grained retrieval)"),
        "class": ({"margin": 0.25, "gamma": 256.0}, "the Circle-loss paper (faces)"),
        "joint": ({"margin": 0.25, "gamma": 256.0}, "the Circle-loss paper (faces, for class-level labels)"),
    }

    margin: float = Margin(
        default=rules.Circle.margin,
        low=-1.0,
        high=2.0,
        text="within-class similarities aim above 1 - margin, others below",
    )
    gamma: float = Scale(default=rules.Circle.gamma)

    def form(self) -> Form:
        """Self-paced weights and margins."""
        return Form(rules.Circle(self.margin, self.gamma))
