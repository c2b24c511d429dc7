"""What goes into and comes out of a similarity backend: `Pairs`, `Rule` and `PairLse`.

Tiles, shards and sources each give a `PairLse` of their own, and `merge` makes one of them, exactly.
"""

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

Statistic = Literal["logsumexp", "max"]


class PairLse(NamedTuple):
    """Per anchor, the statistic (log-sum-exp or maximum) of its positive and of its negative logits.

    Both are (batch,) in fp32 (fp64 for fp64 embeddings), -inf where an anchor has no such pair.
    """

    pos: Tensor
    neg: Tensor

    @property
    def valid(self) -> Tensor:
        """(batch,) bool: the anchor has at least one positive and one negative."""
        return (self.pos != -torch.inf) & (self.neg != -torch.inf)


class Rule(Protocol):
    """How a similarity becomes a logit, and the slope d logit / d s its gradient uses (see circlet.rules)."""

    def positive(self, s: Tensor, /) -> Tensor:
        """Logits of positives with similarities `s`."""

    def negative(self, s: Tensor, /) -> Tensor:
        """Logits of negatives with similarities `s`."""

    def positive_slope(self, s: Tensor, /) -> Tensor:
        """Slope of `positive` at `s`."""

    def negative_slope(self, s: Tensor, /) -> Tensor:
        """Slope of `negative` at `s`."""


class Pairs(NamedTuple):
    """The pairs of one source: which anchor meets which reference, and as what.

    A pair is positive where the labels are equal, or where `positive_mask` says so; every other pair is negative.

    anchors: (batch, dim). references: (num_references, dim), or None: the anchors themselves, own row excluded.
    labels: (batch,) and reference_labels: (num_references,) integers. positive_mask: (batch, num_references) bool.
    """

    anchors: Tensor
    references: Tensor | None
    labels: Tensor | None
    reference_labels: Tensor | None
    positive_mask: Tensor | None = None


def merge(parts: list[PairLse], statistic: Statistic) -> PairLse:
    """Combine the statistics of disjoint sets of references into that of their union."""
    if len(parts) == 1:
        return parts[0]
    return PairLse(*(union(torch.stack(sides), statistic) for sides in zip(*parts, strict=True)))


def union(parts: Tensor, statistic: Statistic) -> Tensor:
    """Statistic of the union, along dim 0 of the parts' statistics; -inf where all parts are, with gradient 0."""
    if statistic == "max":
        return parts.amax(0)
    none = (parts == -torch.inf).all(0)
    return torch.where(none, -torch.inf, torch.where(none, 0.0, parts).logsumexp(0))
