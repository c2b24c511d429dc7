"""Form: what a loss of the family is made of, in a vocabulary of few words.

    similarity source   x  rule                       x  aggregate
    (which references)     (score -> logit, slope)       (two statistics -> loss)

The references come with the call; `Form` says the rest. Its defaults are the unified loss (Eq. 1): log-sum-exps on
both sides, coupled in a softplus, averaged over the anchors that have a positive and a negative. Everything else is
one word more.

Some well-known losses are not of this kind:

| loss                                      | why not                                                                 |
|-------------------------------------------|-------------------------------------------------------------------------|
| angular loss                              | a negative meets the sum of anchor and positive: triples, no pairs      |
| batch-all triplets, quadruplet loss       | a hinge for each triple: more than two statistics of an anchor          |
| signal-to-noise contrastive loss          | the variance of a difference: neither cosine nor inner product          |
| center loss                               | distances of embeddings with their lengths, to means that follow them   |
| histogram loss                            | histograms of all pairs of the batch, not those of an anchor            |
| FastAP, SmoothAP, Blackbox AP             | ranks: each positive against every pair of the anchor, not a statistic  |
| VICReg, Barlow Twins, DINO                | statistics of embedding dimensions, or another network's outputs        |
| SphereFace                                | inner products of unit weights with embeddings that keep their length   |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from circlet.aggregate import Aggregate, Separate, softplus
from circlet.similarity import Rule

PositiveStatistic = Literal["logsumexp", "max", "softmin", "sum", "mean", "mean_active", "each"]
NegativeStatistic = Literal["logsumexp", "max", "sum", "mean", "mean_active", "semi_hard"]
Contrast = Literal["negatives", "all"]
Anchors = Literal["samples", "references"]
Average = Literal["both", "either", "sides"]


class Rows(NamedTuple):
    """What a rule may know of the anchors that it is made for; all (rows, 1), without gradient but `norms`.

    norms: length of each embedding. hardest_positive: similarity of its least similar positive; inf without one.
    """

    norms: Tensor
    hardest_positive: Tensor


@runtime_checkable
class RowRule(Protocol):
    """A rule that differs from anchor to anchor, such as a margin by the embedding's norm."""

    def for_rows(self, rows: Rows) -> Rule:
        """The rule for these anchors: its numbers are tensors (rows, 1), or apply to all."""


class Softmax(NamedTuple):
    """Within a class, the mean of the similarities weighted by their softmax at a temperature, > 0."""

    temperature: float


class AnchorLoss(NamedTuple):
    """Of each anchor (R,): the loss of its positives and of its negatives together, or each if they do not meet.

    has_positive, has_negative: (R,) bool.
    """

    loss: Tensor
    pos_loss: Tensor
    neg_loss: Tensor
    has_positive: Tensor
    has_negative: Tensor


@dataclass(frozen=True)
class Form:
    """One loss of the family.

    >>> from circlet import Form, rules
    >>> Form(rules.Circle(margin=0.4, gamma=80.0)).aggregate.__name__
    'softplus'

    rule: from a similarity to a logit (`circlet.rules`), the same for all anchors or one for each (`RowRule`).
    aggregate: from the two statistics of an anchor to its loss (`circlet.aggregate`).
    normalize: cosine similarity, else inner product.
    positives: what is made of the positive logits of an anchor. logsumexp: all, the hardest most; max: the hardest;
        softmin: -logsumexp of minus the logits, the easiest most, so that one near positive is enough; sum; mean;
        mean_active: the mean of those above 0; each: the aggregate is applied to each positive, and the mean taken.
    negatives: likewise. semi_hard, with each: the hardest negative that is less similar than the positive.
    contrast: whether the negatives' statistic is of the negatives alone or of all pairs (SupCon's denominator).
    within_class: what the similarity to a class of several references is: of each reference by itself (None), of the
        most similar one ("max"), or a `Softmax`-weighted mean.
    anchors: samples meet references; or references are the anchors and meet the samples (proxies).
    average: "mean" is over the anchors with a positive and a negative (both), with either, or each side over those that
        have it, for an aggregate with `sides`.
    penalty: what is added to the loss of an anchor for what it is by itself, such as its norm (rows, 1); None: nothing.
    """

    rule: Rule | RowRule
    aggregate: Aggregate = softplus
    normalize: bool = True
    positives: PositiveStatistic = "logsumexp"
    negatives: NegativeStatistic = "logsumexp"
    contrast: Contrast = "negatives"
    within_class: Literal["max"] | Softmax | None = None
    anchors: Anchors = "samples"
    average: Average = "both"
    penalty: Callable[[Rows], Tensor] | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the loss is computed in tiles; if not, in blocks of anchors against all their references."""
        by_pairs = self.within_class is None and isinstance(self.rule, Rule) and self.penalty is None
        return by_pairs and self.is_mergeable

    @property
    def is_mergeable(self) -> bool:
        """Whether statistics of parts of the references (shards of class weights) make up that of all of them."""
        return (self.positives, self.negatives) in _STREAMED and self.contrast == "negatives"

    @property
    def is_mean_of_softplus(self) -> bool:
        """Whether a mean over the anchors is that of `softplus` of two log-sum-exps, as `similarity` has it at once."""
        usual = self.aggregate is softplus and self.average == "both" and self.anchors == "samples"
        return usual and self.positives == "logsumexp" and self.is_streamed

    @property
    def typical_rule(self) -> Rule:
        """The rule; of a `RowRule` that of an anchor of length 1 that is equal to its positive."""
        if isinstance(self.rule, Rule):
            return self.rule
        return self.rule.for_rows(Rows(torch.ones(1, 1), torch.ones(1, 1)))

    def losses(self, pos: Tensor, neg: Tensor, has_positive: Tensor, has_negative: Tensor) -> AnchorLoss:
        """The loss of each anchor from its two statistics."""
        if self.average == "sides":
            assert isinstance(self.aggregate, Separate)
            pos_loss, neg_loss = self.aggregate.sides(pos, neg)
            return AnchorLoss(pos_loss + neg_loss, pos_loss, neg_loss, has_positive, has_negative)
        loss = self.aggregate(pos, neg)
        return AnchorLoss(loss, loss, loss, has_positive, has_negative)

    def check(self, owner: str) -> None:
        """ValueError that names `owner` if a part is no such part, or gives the wrong shape or NaN."""
        if not isinstance(self.rule, Rule | RowRule):
            raise ValueError(f"{owner}: found a rule of type {type(self.rule).__name__}, expected a circlet.rules.Rule")
        if (self.negatives == "semi_hard") > (self.positives == "each"):
            raise ValueError(f"{owner}: found negatives 'semi_hard' with positives {self.positives!r}, expected 'each'")
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{owner}: {name}: found {getattr(self, name)!r}, expected {', '.join(words)}")
        if self.average == "sides" and not isinstance(self.aggregate, Separate):
            raise ValueError(
                f"{owner}: found average 'sides' with {self.aggregate}, expected a circlet.aggregate.Separate"
            )
        if self.average == "sides" and self.penalty is not None:
            raise ValueError(f"{owner}: found average 'sides' with a penalty, expected 'both' or 'either'")
        s = torch.tensor([-0.9, -0.5, 0.0, 0.5, 0.9], dtype=torch.float64)
        rows = Rows(torch.ones_like(s), s)
        rule = self.rule if isinstance(self.rule, Rule) else self.rule.for_rows(rows)
        found = {
            "rule.positive(s)": rule.positive(s),
            "rule.negative(s)": rule.negative(s),
            "aggregate(pos, neg)": self.aggregate(s, -s),
            **({} if self.penalty is None else {"penalty(rows)": self.penalty(rows)}),
        }
        for name, value in found.items():
            _check_output(owner, name, value, s)


_STREAMED = (("logsumexp", "logsumexp"), ("softmin", "logsumexp"), ("max", "max"))
_WORDS: dict[str, tuple[str, ...]] = {
    "positives": get_args(PositiveStatistic),
    "negatives": get_args(NegativeStatistic),
    "contrast": get_args(Contrast),
    "anchors": get_args(Anchors),
    "average": get_args(Average),
}


def _check_output(owner: str, name: str, value: Any, s: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{owner}: {name} gave {type(value).__name__}, expected a tensor of the shape of s")
    if value.shape != s.shape:
        raise ValueError(f"{owner}: {name} gave shape {tuple(value.shape)} for s of shape {tuple(s.shape)}, expected "
                         "the same")  # fmt: skip
    if not value.is_floating_point() or not bool(value.isfinite().all()):
        raise ValueError(f"{owner}: {name} gave {value.tolist()} for {s.tolist()}, expected finite numbers")
