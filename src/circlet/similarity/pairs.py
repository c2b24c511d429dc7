"""What goes into and comes out of a similarity backend: `Pairs` and `PairLse`, and which pairs are positive.

Tiles, shards and sources each give a `PairLse` of their own, and `merge` makes one of them, exactly.
"""

from typing import Literal, NamedTuple

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

    @property
    def num_references(self) -> int:
        """How many references each anchor meets; with references None its own row counts too."""
        return len(self.anchors if self.references is None else self.references)

    def swapped(self) -> "Pairs":
        """The same pairs with references and anchors in each other's place; the batch against itself stays as it is."""
        if self.references is None:
            return self
        mask = None if self.positive_mask is None else self.positive_mask.T
        return Pairs(self.references, self.anchors, self.reference_labels, self.labels, mask)


def masks(pairs: Pairs, first: int = 0, last: int | None = None) -> tuple[Tensor, Tensor]:
    """(rows, num_references) bool masks of the positive and of the negative pairs of anchors [first, last)."""
    last = len(pairs.anchors) if last is None else last
    if pairs.positive_mask is not None:
        positive = pairs.positive_mask[first:last]
    else:
        assert pairs.labels is not None
        reference_labels = pairs.labels if pairs.reference_labels is None else pairs.reference_labels
        positive = pairs.labels[first:last, None] == reference_labels[None, :]
    if pairs.references is not None:
        return positive, ~positive
    positive = positive.clone() if pairs.positive_mask is not None else positive
    negative = ~positive
    if len(positive) == positive.shape[1]:
        return positive.fill_diagonal_(False), negative.fill_diagonal_(False)
    positive.diagonal(first).fill_(False)  # which inductor cannot lower without a warning
    negative.diagonal(first).fill_(False)
    return positive, negative


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
