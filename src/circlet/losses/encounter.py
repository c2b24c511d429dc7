"""Encounter: a batch and what it is compared with, and the loss of each of its anchors.

Forms in tiles (`Form.is_streamed`) go through `similarity.pair_lse`, all others in blocks of anchors. Over ranks the
references' `GlobalBatch` puts the parts together; what decides there is here: statistics that merge are merged, and
losses that need an anchor's pairs all at once are computed by the rank that holds the anchor.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from circlet.losses.form import Form, Rows, Softmax
from circlet.losses.statistics import (
    AnchorLoss,
    Meeting,
    anchor_loss,
    of_statistics,
    pooled,
    soft_minimum,
    statistics,
)
from circlet.references import GlobalBatch
from circlet.similarity import PairLse, Pairs, Rule, Statistic, in_row_blocks, merge, pair_lse


class Encounter(NamedTuple):
    """A batch and what it is compared with; the batch of all ranks where a source is spread over them."""

    sources: list[Pairs]
    batch: GlobalBatch | None

    @property
    def embeddings(self) -> Tensor:
        """(batch, dim) of all anchors, the same on every rank."""
        return self.sources[0].anchors if self.batch is None else self.batch.all_embeddings

    def hardest_positives(self, *, normalize: bool = True) -> Tensor:
        """(batch,) similarity of the least similar positive of each anchor; inf without one. Without gradient."""
        with torch.no_grad():
            return -self.losses(_hardest(normalize)).loss

    def losses(self, form: Form) -> AnchorLoss:
        """The loss of each anchor; with references as anchors those of all sources, one after the other."""
        if self.batch is not None:
            return _over_ranks(form, self.sources, self.batch)
        if form.anchors == "references":
            return _joined([_whole_anchors(form, [pairs.swapped()]) for pairs in self.sources])
        return _whole_anchors(form, self.sources)


def _whole_anchors(form: Form, sources: list[Pairs]) -> AnchorLoss:
    """The loss of anchors that meet all their references in `sources`."""
    if form.is_streamed:
        statistic, rule = _engine(form)
        parts = [pair_lse(pairs, rule, normalize=form.normalize, statistic=statistic) for pairs in sources]
        return _of_lse(form, merge(parts, statistic))

    def evaluate(s: Tensor, positive: Tensor, negative: Tensor, norms: Tensor, first: int) -> AnchorLoss:
        return anchor_loss(form, Meeting(s, positive, negative, norms, _labels(sources)))

    return AnchorLoss(*in_row_blocks(sources, evaluate, normalize=form.normalize))


def _over_ranks(form: Form, sources: list[Pairs], batch: GlobalBatch) -> AnchorLoss:
    """The loss of each anchor of all ranks, the same on every rank.

    Plain sources meet the own anchors (`batch.embeddings`), shards of class weights those of all ranks.
    """
    if form.anchors == "references":
        within = batch.pairs_within() if batch.against_itself else []
        groups = [[pairs.swapped()] for pairs in sources] + ([within] if within else [])
        if len(batch.sizes) > 1 and any(pairs.anchors is batch.embeddings for pairs in sources):
            raise ValueError("references: found plain references over several ranks with a loss whose anchors they "
                             "are, expected ShardedClassWeights or AllRanks")  # fmt: skip
        own = _joined([_whole_anchors(form, group) for group in groups])
        return AnchorLoss(*(batch.of_all(value) for value in own))
    if form.is_streamed:
        statistic, rule = _engine(form)
        return _of_lse(form, batch.lse(sources, rule, normalize=form.normalize, statistic=statistic))
    of_own = all(pairs.anchors is batch.embeddings for pairs in sources)
    sources = [*(batch.pairs_within() if batch.against_itself else []), *sources]
    if of_own or len(batch.sizes) == 1:
        return AnchorLoss(*(batch.of_all(value) for value in _whole_anchors(form, sources)))
    if not form.is_mergeable:
        raise ValueError(f"references: found class weights spread over ranks with a loss of {form.positives} "
                         f"positives and {form.negatives} negatives, expected AllRanks alone")  # fmt: skip
    if form.within_class is not None and len(sources) > 1:
        raise ValueError("references: found class weights spread over ranks beside another source with a loss that "
                         "looks within classes, expected them alone")  # fmt: skip
    return _merged(form, sources, batch)


def _merged(form: Form, sources: list[Pairs], batch: GlobalBatch) -> AnchorLoss:
    """As `_over_ranks`, where shards of the class weights give parts of each anchor's statistics."""
    statistic: Statistic = "max" if form.positives == "max" else "logsumexp"
    of_own = slice(sum(batch.sizes[: batch.rank]), sum(batch.sizes[: batch.rank + 1]))
    hardest: Tensor | None = None
    if not isinstance(form.rule, Rule):
        with torch.no_grad():
            of_pairs = _hardest(form.normalize, form.within_class)
            hardest = -batch.merged([_parts(of_pairs, pairs, None) for pairs in sources], "max").pos[:, None]
    hardest_of_own = None if hardest is None else hardest[of_own]
    parts = [_parts(form, pairs, hardest_of_own if pairs.anchors is batch.embeddings else hardest) for pairs in sources]
    found = _of_lse(form, batch.merged(parts, statistic))
    if form.penalty is None:
        return found
    # Of the own anchors alone: each rank differentiates what it adds.
    norms = torch.linalg.vector_norm(batch.embeddings.to(found.loss.dtype), dim=1, keepdim=True)
    rows = Rows(norms, torch.full_like(norms.detach(), torch.inf) if hardest_of_own is None else hardest_of_own)
    return found._replace(loss=found.loss + batch.of_all(form.penalty(rows).squeeze(1)))


def _parts(form: Form, pairs: Pairs, hardest: Tensor | None) -> PairLse:
    """The statistics of one source, as they merge: a soft minimum as the log-sum-exp that it is minus of.

    hardest: similarity of each anchor's least similar positive wherever it is, for a rule that differs by anchor.
    """
    if form.is_streamed:
        statistic, rule = _engine(form)
        return pair_lse(pairs, rule, normalize=form.normalize, statistic=statistic)

    def evaluate(s: Tensor, positive: Tensor, negative: Tensor, norms: Tensor, first: int) -> tuple[Tensor, Tensor]:
        of_rows = None if hardest is None else hardest[first : first + len(s)]
        met = pooled(form, Meeting(s, positive, negative, norms, _labels([pairs]), of_rows))
        pos, neg = statistics(form, met)
        return soft_minimum(pos) if form.positives == "softmin" else pos, neg

    return PairLse(*in_row_blocks([pairs], evaluate, normalize=form.normalize))


@dataclass(frozen=True)
class _Dissimilarity(Rule):
    """The similarity itself, the least for a positive."""

    def positive(self, s: Tensor) -> Tensor:
        return -s

    def negative(self, s: Tensor) -> Tensor:
        return s

    def positive_slope(self, s: Tensor) -> Tensor:
        return torch.full_like(s, -1.0)

    def negative_slope(self, s: Tensor) -> Tensor:
        return torch.ones_like(s)


def _first(pos: Tensor, neg: Tensor) -> Tensor:
    return pos


def _hardest(normalize: bool, within_class: Literal["max"] | Softmax | None = None) -> Form:
    """Minus the similarity of an anchor's hardest positive as its loss."""
    return Form(_Dissimilarity(), _first, normalize, "max", "max", within_class=within_class)


class _Attraction(Rule):
    """A rule with the sign of its positives changed: their log-sum-exp is then minus a soft minimum."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def positive(self, s: Tensor) -> Tensor:
        return -self.rule.positive(s)

    def positive_slope(self, s: Tensor) -> Tensor:
        return -self.rule.positive_slope(s)

    def negative(self, s: Tensor) -> Tensor:
        return self.rule.negative(s)

    def negative_slope(self, s: Tensor) -> Tensor:
        return self.rule.negative_slope(s)

    @property
    def is_constant(self) -> bool:
        return self.rule.is_constant


def _engine(form: Form) -> tuple[Statistic, Rule]:
    """The statistic that the tiles compute for a form, and by which rule."""
    assert isinstance(form.rule, Rule)
    if form.positives == "softmin":
        return "logsumexp", _Attraction(form.rule)
    return "max" if form.positives == "max" else "logsumexp", form.rule


def _of_lse(form: Form, lse: PairLse) -> AnchorLoss:
    has_positive, has_negative = lse.pos != -torch.inf, lse.neg != -torch.inf
    pos = soft_minimum(lse.pos) if form.positives == "softmin" else lse.pos
    return of_statistics(form, pos, lse.neg, has_positive, has_negative)


def _joined(parts: list[AnchorLoss]) -> AnchorLoss:
    return parts[0] if len(parts) == 1 else AnchorLoss(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _labels(sources: list[Pairs]) -> Tensor | None:
    """Labels of the references of all sources, in order; None where a mask stands in for them."""
    labels = [pairs.labels if pairs.references is None else pairs.reference_labels for pairs in sources]
    return None if any(of_source is None for of_source in labels) else torch.cat(labels)  # type: ignore[arg-type]
