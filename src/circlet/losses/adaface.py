"""AdaFace."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form, Rows
from circlet.losses.hyper_parameters import Margin, Number, Scale
from circlet.losses.pair_loss import Encounter
from circlet.rules.angular_margin import cosine_of_sum
from circlet.similarity import Rule


class AdaFaceLoss(PairLoss):
    """AdaFace: softmax cross-entropy with a margin that follows the norm of the embedding, a sign of image quality.

    The target's logit is gamma [cos(theta + g_angle) - g_add], g_angle = -margin z, g_add = margin (1 + z), with
    z = h (norm - mean) / std within -1 and 1: nearly ArcFace for poor images, CosFace for good ones. z has no gradient.
    mean and std follow those of the norms of each batch (over ranks that of all) in training mode, before its loss.

    margin: 0 to pi / 2. h: share of a standard deviation. gamma: scale, > 0. t_alpha: share of the new batch in the
    moving mean and std. Source: Kim et al., CVPR 2022, Eq. 13 to 18; norms from 0.001 to 100 as in the authors' code.
    """

    name: ClassVar[str] = "adaface"
    title: ClassVar[str] = "AdaFace"
    level: ClassVar[Level] = "class"
    first_state: ClassVar[dict[str, float]] = {"mean": 20.0, "std": 100.0}
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "class": ({"margin": 0.4, "h": 0.333, "gamma": 64.0, "t_alpha": 0.01}, "its paper (faces of low quality)")
    }

    margin: float = Margin(default=0.4, low=0.0, high=1.57, text="radians, and in units of cosine similarity")
    h: float = Number(default=0.333, low=0.0, text="concentration of the norms between -1 and 1")
    gamma: float = Scale(default=64.0)
    t_alpha: float = Number(default=0.01, low=0.0, high=1.0, text="share of the new batch in mean and std")

    mean: ClassVar[Tensor]
    std: ClassVar[Tensor]

    def form(self) -> Form:
        """Margins by the embeddings' norms."""
        return Form(MarginsByQuality(self.margin, self.h, self.gamma, self.mean, self.std))

    def observe(self, encounter: Encounter) -> None:
        """Mean and standard deviation of the norms; a single one has none."""
        norms = bounded(torch.linalg.vector_norm(encounter.embeddings.to(self.mean.dtype), dim=1))
        if len(norms) > 1:
            self.follow("mean", norms.mean(), self.t_alpha)
            self.follow("std", norms.std(), self.t_alpha)


@dataclass(frozen=True)
class MarginsByQuality:
    """A rule for each anchor, by where its norm lies among those of the last batches."""

    margin: float
    h: float
    gamma: float
    mean: Tensor
    std: Tensor

    def for_rows(self, rows: Rows) -> Rule:
        """The rule of these anchors."""
        z = (self.h * (bounded(rows.norms.detach()) - self.mean) / (self.std + 1e-3)).clamp(-1.0, 1.0)
        return AdaptiveMargin(-self.margin * z, self.margin * (1.0 + z), self.gamma)


@dataclass(frozen=True)
class AdaptiveMargin(Rule):
    """An angle added to that of the positive, and a margin taken from its cosine; both (rows, 1)."""

    angle: Tensor
    margin: Tensor
    gamma: float

    def __post_init__(self) -> None:
        self.check_scale("gamma")

    def positive(self, s: Tensor) -> Tensor:
        """-gamma [cos(theta + angle) - margin], theta + angle within 0 and pi."""
        cosine, sine = self.angle.cos(), self.angle.sin()
        shifted = cosine_of_sum(s, cosine, sine)
        shifted = torch.where((self.angle < 0) & (s > cosine), 1.0, shifted)
        shifted = torch.where((self.angle > 0) & (s < -cosine), -1.0, shifted)
        return -self.gamma * (shifted - self.margin)

    def negative(self, s: Tensor) -> Tensor:
        """Gamma s_n."""
        return self.gamma * s

    @property
    def scales(self) -> tuple[float, float]:
        """Gamma for both."""
        return self.gamma, self.gamma


def bounded(norms: Tensor) -> Tensor:
    """Norms from 0.001 to 100."""
    return norms.clamp(1e-3, 100.0)
