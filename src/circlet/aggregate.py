"""Aggregates: from the two log-sum-exps of each anchor to one loss, and from the anchors to the batch.

The last of the three choices that make a loss (source x rule x aggregate). An aggregate takes `pos` and `neg`, each
of shape (batch,): the log-sum-exp (or, in the hard limit, the maximum) of the positive and of the negative logits of
every anchor, -inf where there is none. It does not know where they came from.
"""

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "sum", "none"]


def softplus(pos: Tensor, neg: Tensor) -> Tensor:
    """Unified loss log(1 + e^(pos + neg)) (Eq. 1 and 6). Its gradient factor is Z = sigmoid(pos + neg) of Eq. 9."""
    return _softplus(pos + neg)


def separate_softplus(pos: Tensor, neg: Tensor, *, alpha: float, beta: float) -> Tensor:
    """Multi-Similarity: log(1 + e^pos) / alpha + log(1 + e^neg) / beta: positives and negatives are not coupled."""
    return _softplus(pos) / alpha + _softplus(neg) / beta


def hinge(pos: Tensor, neg: Tensor) -> Tensor:
    """Lifted-Structure [pos + neg]+; with maxima for log-sum-exps, the batch-hard triplet loss (Eq. 3)."""
    return (pos + neg).clamp(min=0)


def reduce(per_anchor: Tensor, valid: Tensor, reduction: Reduction) -> Tensor:
    """Reduce (batch,) losses over the *valid* anchors: those with at least one positive and one negative.

    "none" gives 0 for an invalid anchor. Without a valid anchor every reduction is 0, and still differentiable.
    """
    per_anchor = torch.where(valid, per_anchor, 0.0)
    if reduction == "none":
        return per_anchor
    if reduction == "sum":
        return per_anchor.sum()
    return per_anchor.sum() / valid.sum().clamp(min=1)


def _softplus(x: Tensor) -> Tensor:
    # torch.nn.functional.softplus is the identity above 20, an error of 2e-9; this one is exact, at -inf too.
    return torch.logaddexp(x, torch.zeros_like(x))
