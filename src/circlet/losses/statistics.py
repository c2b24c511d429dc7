"""The statistics of a form, and the loss of each anchor, from the similarities of some anchors to all references.

The readable definition of every word of `Form`: plain operations, differentiated by autograd. Losses that tiles cannot
carry are computed by it in blocks of anchors (`similarity.row_blocks`); telemetry looks at a batch through it.

Legend: R anchors (rows), C references; s (R, C) similarities; positive, negative (R, C) bool.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.losses.form import AnchorLoss, Form, Rows, Softmax
from circlet.similarity import Rule


class Meeting(NamedTuple):
    """Some anchors and all that they meet: (R, C) similarities, positives, negatives, and (R, 1) norms of the anchors.

    labels: (C,) of the references, for what is done within a class; None where pairs are given by a mask.
    hardest_positive: (R, 1) similarities, where they are not to be found in `s` (a shard of the class weights).
    """

    s: Tensor
    positive: Tensor
    negative: Tensor
    norms: Tensor
    labels: Tensor | None
    hardest_positive: Tensor | None = None


def anchor_loss(form: Form, meeting: Meeting) -> AnchorLoss:
    """The loss of each anchor."""
    met = pooled(form, meeting)
    has = met.positive.any(1), met.negative.any(1)
    if form.positives == "each":
        loss = _each(form, rule_of(form, met), met)
        found = AnchorLoss(loss, loss, loss, *has)
    else:
        found = form.losses(*statistics(form, met), *has)
    if form.penalty is None:
        return found
    return found._replace(loss=found.loss + form.penalty(rows_of(met)).squeeze(1))


def statistics(form: Form, met: Meeting) -> tuple[Tensor, Tensor]:
    """The two statistics (R,) of each anchor, from similarities to classes (`pooled`)."""
    rule = rule_of(form, met)
    return (
        _statistic(form.positives, rule.positive(met.s), met.positive),
        _statistic(form.negatives, rule.negative(met.s), _contrast(form, met)),
    )


def _contrast(form: Form, met: Meeting) -> Tensor:
    """Which similarities the statistic of the negatives is over, (R, M)."""
    return met.negative if form.contrast == "negatives" else met.positive | met.negative


def rule_of(form: Form, met: Meeting) -> Rule:
    """The rule for these anchors."""
    return form.rule if isinstance(form.rule, Rule) else form.rule.for_rows(rows_of(met))


def rows_of(met: Meeting) -> Rows:
    """What the rule may know of these anchors."""
    hardest = met.hardest_positive
    if hardest is None and met.s.shape[1]:
        hardest = torch.where(met.positive, met.s.detach(), torch.inf).amin(1, keepdim=True)
    return Rows(met.norms, torch.full_like(met.norms.detach(), torch.inf) if hardest is None else hardest)


def pooled(form: Form, meeting: Meeting) -> Meeting:
    """The same anchors with one similarity for each class, where the form asks for it."""
    if form.within_class is None:
        return meeting
    if not meeting.s.shape[1]:
        return meeting
    if meeting.labels is None:
        raise ValueError("positive_mask: found with a loss that looks within classes, expected labels")
    order, is_there = _columns_of_classes(meeting.labels)
    there = is_there & (meeting.positive | meeting.negative)[:, order]  # the own row of an anchor is of no class
    # By gather, whose backward pass is twice as fast as that of an index.
    s = meeting.s.gather(1, order.flatten().expand(len(meeting.s), -1)).view(-1, *order.shape)
    if form.within_class == "max":
        s = torch.where(there, s, -torch.inf).amax(2)
    else:
        assert isinstance(form.within_class, Softmax)
        weights = torch.where(there, s / form.within_class.temperature, torch.finfo(s.dtype).min).softmax(2)
        s = (weights * s).sum(2)
    positive = (there & meeting.positive[:, order]).any(2)
    negative = (there & meeting.negative[:, order]).any(2)
    return meeting._replace(
        s=torch.where(positive | negative, s, 0.0), positive=positive, negative=negative, labels=None
    )


def _columns_of_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(classes, most references of a class) columns of each class, and which of these places are filled."""
    order = labels.argsort(stable=True)
    _, counts = labels[order].unique_consecutive(return_counts=True)
    places = torch.arange(int(counts.max()) if len(counts) else 0, device=labels.device)
    first = counts.cumsum(0) - counts
    is_there = places < counts[:, None]
    return order[torch.where(is_there, first[:, None] + places, 0)], is_there


def _statistic(statistic: str, logits: Tensor, mask: Tensor) -> Tensor:
    """(R,) statistic of the logits where `mask` is true; -inf (sum and means: 0) where it is nowhere."""
    if statistic in ("sum", "mean", "mean_active"):
        counted = mask & ~(logits <= 0) if statistic == "mean_active" else mask  # NaN counts
        total = torch.where(counted, logits, 0.0).sum(1)
        return total if statistic == "sum" else total / counted.sum(1).clamp(min=1)
    if logits.shape[1] == 0:
        return logits.sum(1) - torch.inf
    if statistic == "softmin":
        return soft_minimum(torch.where(mask, -logits, -torch.inf).logsumexp(1))
    masked = torch.where(mask, logits, -torch.inf)
    return masked.logsumexp(1) if statistic == "logsumexp" else masked.amax(1)


def soft_minimum(lse: Tensor) -> Tensor:
    """The soft minimum of logits from the log-sum-exp of minus the logits; -inf where there are none."""
    return torch.where(lse == -torch.inf, lse, -lse)


def _each(form: Form, rule: Rule, met: Meeting) -> Tensor:
    """The mean over the positives of an anchor of the aggregate of each with the anchor's negatives."""
    if form.negatives == "semi_hard":
        neg, counted = _semi_hard(rule, met)
    else:
        neg = _statistic(form.negatives, rule.negative(met.s), _contrast(form, met))[:, None].expand_as(met.s)
        counted = met.positive
    terms = form.aggregate(torch.where(counted, rule.positive(met.s), -torch.inf), neg)
    return torch.where(counted, terms, 0.0).sum(1) / counted.sum(1).clamp(min=1)


def _semi_hard(rule: Rule, met: Meeting) -> tuple[Tensor, Tensor]:
    """For each positive the logit of the most similar negative less similar than it, and where there is one (R, C)."""
    negatives, columns = torch.where(met.negative, met.s.detach(), torch.inf).sort(1)
    place = torch.searchsorted(negatives, met.s.detach().contiguous()) - 1
    found = met.positive & (place >= 0)
    chosen = met.s.gather(1, columns.gather(1, place.clamp(min=0)))
    return torch.where(found, rule.negative(chosen), -torch.inf), found
