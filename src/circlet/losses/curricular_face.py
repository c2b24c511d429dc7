"""CurricularFace."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form, Rows
from circlet.losses.hyper_parameters import Margin, Number, Scale
from circlet.losses.pair_loss import Encounter
from circlet.rules.angular_margin import cosine_of_sum
from circlet.similarity import Rule


class CurricularFaceLoss(PairLoss):
    """CurricularFace: ArcFace whose hard negatives count little at the beginning and more later.

    A negative is hard where s_n > cos(theta + margin), theta the angle to the target; its logit is then
    gamma s_n (t + s_n) in place of gamma s_n. t follows the mean similarity to the target (of the hardest positive,
    where there are several) of each batch, over ranks of that of all, in training mode, before its loss; for this the
    similarities are computed a second time, without gradient.

    margin: radians, 0 to pi. gamma: scale, > 0. momentum: share of the new batch in t.
    Source: Huang et al., CVPR 2020, Eq. 5 to 8.
    """

    name: ClassVar[str] = "curricular_face"
    title: ClassVar[str] = "CurricularFace"
    level: ClassVar[Level] = "class"
    first_state: ClassVar[dict[str, float]] = {"t": 0.0}
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "class": ({"margin": 0.5, "gamma": 64.0, "momentum": 0.01}, "its paper (faces)")
    }

    margin: float = Margin(default=0.5, low=0.0, high=math.pi - 1e-6, text="radians")
    gamma: float = Scale(default=64.0)
    momentum: float = Number(default=0.01, low=0.0, high=1.0, text="share of the new batch in t")

    t: ClassVar[Tensor]

    def form(self) -> Form:
        """An angular margin on the target, and negatives by how they compare with it."""
        return Form(Curriculum(self.margin, self.gamma, self.t))

    def observe(self, encounter: Encounter) -> None:
        """The mean similarity to the target, of the anchors that have one."""
        targets = encounter.hardest_positives()
        there = targets.isfinite()
        self.follow("t", torch.where(there, targets, 0.0).sum() / there.sum(), self.momentum)


@dataclass(frozen=True)
class Curriculum:
    """A rule for each anchor, by the similarity to its target."""

    margin: float
    gamma: float
    t: Tensor

    def for_rows(self, rows: Rows) -> Rule:
        """The rule of these anchors."""
        target = rows.hardest_positive.clamp(-1.0, 1.0)
        bound = cosine_of_sum(target, math.cos(self.margin), math.sin(self.margin))
        return ByStage(rules.AngularMargin(self.margin, self.gamma), bound, self.t)


@dataclass(frozen=True)
class ByStage(Rule):
    """The logits of another rule, of hard negatives by the stage t of the training; bound: (rows, 1) similarities."""

    easy: Rule
    bound: Tensor
    t: Tensor

    def positive(self, s: Tensor) -> Tensor:
        """As the other rule's."""
        return self.easy.positive(s)

    def negative(self, s: Tensor) -> Tensor:
        """As the other rule's of s, or of s (t + s) where s is above the bound."""
        return self.easy.negative(torch.where(s > self.bound, s * (self.t + s), s))

    @property
    def scales(self) -> tuple[float, float]:
        """Those of the other rule."""
        return self.easy.scales
