"""The loss of a batch by any `Form`: from the arguments that all losses take to a number.

Forms in tiles (`Form.is_streamed`) go through `similarity.pair_lse`, all others in blocks of anchors. Over ranks the
references' `GlobalBatch` puts the parts together; what decides there is here: statistics that merge are merged, and
losses that need an anchor's pairs all at once are computed by the rank that holds the anchor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from circlet import aggregate
from circlet.aggregate import Reduction
from circlet.losses.form import AnchorLoss, Form, Rows, Softmax
from circlet.losses.statistics import Meeting, anchor_loss, pooled, soft_minimum, statistics
from circlet.references import GlobalBatch, References, resolve
from circlet.similarity import (
    PairLse,
    Pairs,
    Rule,
    Statistic,
    in_row_blocks,
    is_transformed,
    mean_softplus,
    merge,
    pair_lse,
)


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

    def reduced(self, form: Form, reduction: Reduction) -> Tensor:
        """The losses of the anchors as one."""
        if reduction == "mean" and self.batch is None and len(self.sources) == 1 and form.is_mean_of_softplus:
            _, rule = _engine(form)
            loss = mean_softplus(self.sources[0], rule, normalize=form.normalize)
            if loss is not None:
                return loss
        return _reduced(form, self.losses(form), reduction)


def pair_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    references: References | list[References],
    reference_labels: Tensor | None,
    positive_mask: Tensor | None,
    reduction: Reduction,
    form: Form | Callable[[Encounter], Form],
) -> Tensor:
    """Loss of each anchor against all its references, reduced over the valid anchors.

    embeddings: (batch, dim), any float dtype; computed and returned in fp32 (fp64 for fp64), under autocast too.
    labels: (batch,) integers of any kind, negative ones too unless they index class weights.
    references: what every anchor is compared with:
        None: the other embeddings of the batch (pair-wise labels; the own row is excluded by index);
        a tensor (num_references, dim): with reference_labels another batch, without them class weights (row i is
        class i; class-level labels); a `ClassWeights`, a `MemoryBank` or another object with a references() method;
        `AllRanks` or `ShardedClassWeights`: then the loss is one over the batches of all ranks, see there;
        a list of these, of None and of (tensor, labels) pairs: one joint loss over all of them.
    reference_labels: (num_references,) integers.
    positive_mask: (batch, num_references) bool instead of labels: true where a pair is positive, for multi-label and
        other definitions; every other pair is negative.
    reduction: "mean" over the valid anchors (at least one positive and one negative, unless the form says otherwise),
        "sum", or "none": (batch,), 0 for an invalid anchor. With no valid anchor the loss is 0 and differentiable.
        Where references are the anchors (`Form.anchors`), "none" is one loss for each of them.
    form: what the loss is made of, or a function that says so once it is known what meets what.

    Raises ValueError for a wrong shape, dtype, device or label, and for NaN or infinite values; the latter are looked
    for only when the loss is not finite, and only on a CPU (on another device that would wait for it, in compiled code
    and under a transform nobody can look: the loss is then NaN). A zero row has similarity 0 to everything, and
    gradient 0; every other finite row has its direction, however long or short it is, and a gradient of g / length,
    infinite where no number of its dtype is as large.

    Forward-mode differentiation and the transforms of torch.func (grad, vmap, jvp, hessian, ...) go over the matrix of
    similarities: NotImplementedError beyond 2^26 of them, a ValueError over several ranks. What a rule detaches, such
    as Circle's weights, is constant in every derivative. Outside of them the gradient may be differentiated again only
    where autograd has found it (RuntimeError: not of the losses in tiles).
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: found {reduction!r}, expected 'mean', 'sum' or 'none'")
    sources, batch = resolve(embeddings, labels, references, reference_labels, positive_mask)
    encounter = Encounter(sources, batch)
    form = form if isinstance(form, Form) else form(encounter)
    swapped = form.anchors == "references"
    loss = encounter.reduced(form, reduction)
    may_look = loss.device.type == "cpu" and not torch.compiler.is_compiling() and not is_transformed()
    if may_look and not _is_finite(loss):
        error = _not_finite([("embeddings", embeddings), *(("references", pairs.references) for pairs in sources)])
        if batch is not None:
            batch.agree(error)
        elif error is not None:
            raise error
    return loss if batch is None or reduction != "none" or swapped else batch.own_rows(loss)


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
    return form.losses(pos, lse.neg, has_positive, has_negative)


def _joined(parts: list[AnchorLoss]) -> AnchorLoss:
    return parts[0] if len(parts) == 1 else AnchorLoss(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _labels(sources: list[Pairs]) -> Tensor | None:
    """Labels of the references of all sources, in order; None where a mask stands in for them."""
    labels = [pairs.labels if pairs.references is None else pairs.reference_labels for pairs in sources]
    return None if any(of_source is None for of_source in labels) else torch.cat(labels)  # type: ignore[arg-type]


def _reduced(form: Form, found: AnchorLoss, reduction: Reduction) -> Tensor:
    if form.average == "sides":
        pos = aggregate.reduce(found.pos_loss, found.has_positive, reduction)
        return pos + aggregate.reduce(found.neg_loss, found.has_negative, reduction)
    if form.average == "either":
        return aggregate.reduce(found.loss, found.has_positive | found.has_negative, reduction)
    return aggregate.reduce(found.loss, found.has_positive & found.has_negative, reduction)


def _is_finite(loss: Tensor) -> bool:
    """Of a number in one look, where `isfinite` is eight small operations."""
    return math.isfinite(loss.detach()) if loss.ndim == 0 else bool(loss.isfinite().all())


def _not_finite(named_rows: list[tuple[str, Tensor | None]]) -> ValueError | None:
    """The error of the first tensor that has NaN or infinity."""
    for name, rows in named_rows:
        bad = torch.zeros(0) if rows is None else ~rows.isfinite().all(dim=1)
        if bad.any():
            first = int(bad.nonzero()[0])
            return ValueError(f"{name}: found NaN or infinity in {int(bad.sum())} of {len(bad)} rows (first: row "
                              f"{first}), expected finite values")  # fmt: skip
    return None
