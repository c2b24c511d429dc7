"""Aggregates: from the two statistics of each anchor to one loss, and from the anchors to the batch.

The last of the three choices that make a loss (source x rule x aggregate). An aggregate takes `pos` and `neg`, each
of shape (batch,): the log-sum-exp (or another statistic) of the positive and of the negative logits of every anchor;
of an anchor without such a pair the log-sum-exp and the maximum are -inf, a mean is 0. It does not know where they came
from. Any function of two tensors is an aggregate; one that does not couple its two sides says so (`coupled`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from circlet.similarity.exponentials import softplus as softplus_of

Reduction = Literal["mean", "sum", "none"]
Aggregate = Callable[[Tensor, Tensor], Tensor]


def softplus(pos: Tensor, neg: Tensor) -> Tensor:
    """Unified loss log(1 + e^(pos + neg)) (Eq. 1 and 6). Its gradient factor is Z = sigmoid(pos + neg) of Eq. 9."""
    return softplus_of(pos + neg)


def hinge(pos: Tensor, neg: Tensor) -> Tensor:
    """Lifted-Structure [pos + neg]+; with maxima for log-sum-exps, the batch-hard triplet loss (Eq. 3)."""
    return (pos + neg).clamp(min=0)


def add(pos: Tensor, neg: Tensor) -> Tensor:
    """Pos + neg, as in a cross-entropy whose denominator holds the positives too (SupCon)."""
    return pos + neg


@dataclass(frozen=True)
class Separate:
    """Two sides that do not meet: an anchor's loss is that of its positives plus that of its negatives."""

    @property
    def coupled(self) -> bool:
        """No."""
        return False

    def __call__(self, pos: Tensor, neg: Tensor) -> Tensor:
        """The sum of both sides."""
        pos_loss, neg_loss = self.sides(pos, neg)
        return pos_loss + neg_loss

    def sides(self, pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of the positives and of the negatives: the statistics as they are."""
        return pos, neg


@dataclass(frozen=True)
class SeparateSoftplus(Separate):
    """Multi-Similarity: log(1 + e^pos) / alpha + log(1 + e^neg) / beta."""

    alpha: float = 1.0
    beta: float = 1.0

    def sides(self, pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor]:
        """A softplus each."""
        return softplus_of(pos) / self.alpha, softplus_of(neg) / self.beta


def is_coupled(aggregate: Aggregate) -> bool:
    """Whether positives and negatives of an anchor share a boundary; True unless the aggregate says otherwise."""
    return bool(getattr(aggregate, "coupled", True))


def reduce(per_anchor: Tensor, valid: Tensor, reduction: Reduction) -> Tensor:
    """Reduce (batch,) losses over the *valid* anchors: usually those with at least one positive and one negative.

    "none" gives 0 for an invalid anchor. Without a valid anchor every reduction is 0, and still differentiable.
    """
    per_anchor = torch.where(valid, per_anchor, 0.0)
    if reduction == "none":
        return per_anchor
    if reduction == "sum":
        return per_anchor.sum()
    return per_anchor.sum() / valid.sum().clamp(min=1)
