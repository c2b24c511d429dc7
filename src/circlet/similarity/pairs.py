"""What goes into and comes out of a similarity backend: `Pairs`, a `Rule`, and `PairLse`.

Tiles, shards and sources each give a `PairLse` of their own, and `merge` makes one of them, exactly. The rules
themselves are in `circlet.rules`; nothing here, or in the backends, knows one by name.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from circlet.similarity.rows import is_transformed
from circlet.similarity.short_form import General, Kernel, Sides

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


class Rule:
    """How a similarity becomes a logit: the base of every rule. Subclass it as a frozen dataclass of numbers.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Squared(Rule):
    ...     gamma: float = 16.0
    ...     def positive(self, s):
    ...         return self.gamma * (1 - s).square()
    ...     def negative(self, s):
    ...         return self.gamma * s.clamp(min=0).square()
    >>> Squared().negative_slope(torch.tensor([0.5]))
    tensor([16.])

    A large *positive* logit means a positive that is still too *dissimilar*. The functions are elementwise and
    shape-free. A rule that holds tensors (learnt numbers) is differentiated by autograd, densely.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        """What a rule inherits must still be its own: a new logit drops the slope and the short forms of its parent."""
        super().__init_subclass__(**keywords)
        own = cls.__dict__
        for side in ("positive", "negative"):
            if side in own and f"{side}_slope" not in own:
                setattr(cls, f"{side}_slope", getattr(Rule, f"{side}_slope"))
        if own.keys() & {"positive", "negative", "positive_slope", "negative_slope"}:
            for name in ("short_form", "kernel"):
                if name not in own:
                    setattr(cls, name, getattr(Rule, name))

    def positive(self, s: Tensor) -> Tensor:
        """Logits of positives with similarities `s`."""
        raise NotImplementedError(f"{type(self).__name__}: has no positive(s), expected the logit of a positive")

    def negative(self, s: Tensor) -> Tensor:
        """Logits of negatives with similarities `s`."""
        raise NotImplementedError(f"{type(self).__name__}: has no negative(s), expected the logit of a negative")

    def positive_slope(self, s: Tensor) -> Tensor:
        """Slope d logit / d s of positives; by autograd, so that detached factors count as constants."""
        return _slope(self.positive, s)

    def negative_slope(self, s: Tensor) -> Tensor:
        """Slope d logit / d s of negatives; by autograd."""
        return _slope(self.negative, s)

    @property
    def scales(self) -> tuple[float, float]:
        """What the slopes of positives and of negatives are measured in, such as gamma: weights alpha are in these."""
        return 1.0, 1.0

    def check_scale(self, name: str) -> None:
        """ValueError if the number of this name is not finite and above 0."""
        if not 0 < getattr(self, name) < math.inf:
            raise ValueError(f"{name}: found {getattr(self, name)}, expected a finite number > 0")

    def check_finite(self, name: str) -> None:
        """ValueError if the number of this name is not finite."""
        if not -math.inf < getattr(self, name) < math.inf:
            raise ValueError(f"{name}: found {getattr(self, name)}, expected a finite number")

    @property
    def is_constant(self) -> bool:
        """Whether the rule holds no tensors, which may be learnt: only then is it differentiated by hand."""
        return not any(isinstance(value, Tensor | nn.Module) for value in vars(self).values())

    def short_form(self) -> Sides:
        """Both sides as the tiles take them; by the functions above."""
        return Sides(General(self.positive, self.positive_slope), General(self.negative, self.negative_slope))

    def kernel(self) -> Kernel | None:
        """The rule as the GPU kernels take it; None: they do not have it, and it goes another way."""
        return None


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
    if is_transformed():  # in place, labels of many batches at once would go one by one
        other = ~torch.eye(len(positive), positive.shape[1], dtype=torch.bool, device=positive.device).roll(first, 1)
        return positive & other, negative & other
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
    empty = parts == -torch.inf
    parts = torch.where(empty, -torch.inf, parts)  # the tangent of an empty part is NaN
    if statistic == "max":
        return parts.amax(0)
    none = empty.all(0)
    return torch.where(none, -torch.inf, torch.where(none, 0.0, parts).logsumexp(0))


def _slope(logit: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = s.detach().requires_grad_()
        value = logit(leaf)
        if not value.requires_grad:
            return torch.zeros_like(s)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
    return slope
