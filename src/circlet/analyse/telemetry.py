"""Similarity telemetry: what the pairs of a training batch look like to its loss, at a logging step.

For one batch: mean and hardest similarities, the weights alpha, how many anchors and pairs are past the decision
boundary, and how much gradient the positives and the negatives get (Eq. 9 and 10, for any loss of the family). It holds
for pair-wise, class-level and joint labels.

Exact up to MAX_PAIRS pairs and MAX_ANCHORS anchors. Beyond, it looks at fewer anchors, evenly spaced in the batch, but
at least at MIN_ANCHORS; and where even their pairs are too many (very many classes), at a fixed random sample of the
references, beside those of the anchors' own classes. Then s_n_max and the gradients are of that sample.
Over several ranks each sees its own part alone: its batch, and the class weights that lie on it; nothing is sent. Where
the loss compares with a share of the class weights (loss.sample below 1), telemetry takes them all, so that s_n_max and
the gradients are larger than those of the step.

A look at a batch takes about as long as 1 to 20 % of a step, and is taken every `log_every` steps: with the usual 20
that is below 1 % of the training.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from circlet.analyse.boundary import decision, is_past
from circlet.analyse.trace import Trace
from circlet.losses import Form, PairLoss
from circlet.losses.statistics import Meeting, anchor_loss, pooled, rule_of
from circlet.references import AllRanks, LabelledRows, References, ShardedClassWeights, Source
from circlet.similarity.dense import similarities

MAX_PAIRS = 2**22
MAX_ANCHORS, MIN_ANCHORS = 256, 32


@runtime_checkable
class Observed(Protocol):
    """What telemetry needs of an objective: `circlet.training.Objective` has it."""

    loss: PairLoss

    def sources(self) -> list[References]:
        """What the batch is compared with."""


class Observation(NamedTuple):
    """Telemetry of a batch.

    values, all means over the anchors seen that have a positive and a negative; empty where there is none:
        s_p, s_n: similarity of all positive and of all negative pairs (what the loss computes on: cosine or inner
        product); s_p_min, s_n_max: of the hardest positive and the hardest negative of each anchor;
        alpha_p, alpha_n: weight of all positive and of all negative pairs, their slope relative to gamma (0 to 1+m
        for Circle, 1 for a constant margin); alpha_p_max, alpha_n_max: the largest; alpha_p_zero, alpha_n_zero: share
        of the pairs of weight 0, which pull no more;
        past_boundary: share of anchors whose hardest pair (s_n_max, s_p_min) is past the decision boundary;
        positives_past, negatives_past: share of the positive and of the negative pairs that are past it together with
        the anchor's hardest of the other side (a loss that does not couple them: past their own boundary);
        gradient_p, gradient_n: sum of |dL/ds| over the positives and over the negatives of an anchor.
    s_p, s_n: (anchors,) the hardest positive and the hardest negative of each, on the CPU.
    """

    values: dict[str, float]
    s_p: Tensor
    s_n: Tensor


class Telemetry:
    """Observes a training batch: `observe` of circlet.training.fit.

    trace: if given, the single anchors (s_p_min, s_n_max) are kept there, one line a call.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self.trace = trace

    def __call__(self, objective: nn.Module, embeddings: Tensor, labels: Tensor) -> dict[str, float]:
        """Values of `Observation` for a batch of (batch, dim) embeddings and (batch,) labels."""
        if not isinstance(objective, Observed):
            raise ValueError(f"objective: found {type(objective).__name__}, expected a loss with its sources, such as "
                             "circlet.training.Objective")  # fmt: skip
        found = observe(objective.loss, embeddings, labels, objective.sources())
        if self.trace is not None:
            self.trace.add(found.s_p.tolist(), found.s_n.tolist())
        return found.values


@torch.no_grad()
def observe(loss: PairLoss, embeddings: Tensor, labels: Tensor, sources: Sequence[References] = (None,)) -> Observation:
    """Telemetry of a batch under a loss; arguments as in circlet.functional.pair_loss, `sources` always a list.

    >>> from circlet import CircleLoss
    >>> embeddings, labels = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]), torch.tensor([0, 0, 1, 1])
    >>> values = observe(CircleLoss(margin=0.4, gamma=80.0), embeddings, labels).values
    >>> print(f"{values['s_p']:.2f} {values['s_n_max']:.2f} {values['alpha_p']:.2f}")
    0.80 0.78 0.60
    """
    form = loss.form()
    with torch.autocast(embeddings.device.type, enabled=False):
        met = _valid(pooled(form, _meeting(form, embeddings, labels, sources)))
        if not len(met.s):
            return Observation({}, torch.empty(0), torch.empty(0))
        hardest_p = torch.where(met.positive, met.s, torch.inf).amin(1)
        hardest_n = torch.where(met.negative, met.s, -torch.inf).amax(1)
        means = {
            **_of_similarities(met, hardest_p, hardest_n),
            **_of_rule(form, met, hardest_p, hardest_n),
            **_gradients(form, met),
        }
        together = torch.cat([torch.stack(list(means.values())), hardest_p, hardest_n]).cpu()  # waits once
    values, hardest_p, hardest_n = together.split([len(means), len(met.s), len(met.s)])
    return Observation(dict(zip(means, values.tolist(), strict=True)), hardest_p, hardest_n)


def _of_similarities(met: Meeting, hardest_p: Tensor, hardest_n: Tensor) -> dict[str, Tensor]:
    return {
        "s_p": met.s.where(met.positive, 0.0).sum() / met.positive.sum(),
        "s_n": met.s.where(met.negative, 0.0).sum() / met.negative.sum(),
        "s_p_min": hardest_p.mean(),
        "s_n_max": hardest_n.mean(),
    }


def _of_rule(form: Form, met: Meeting, hardest_p: Tensor, hardest_n: Tensor) -> dict[str, Tensor]:
    """Weights, and what is past the boundary."""
    rule, (s, positive, negative) = rule_of(form, met), met[:3]
    num_p, num_n = positive.sum().to(s.dtype), negative.sum().to(s.dtype)
    scale_p, scale_n = rule.scales
    alpha_p = rule.positive_slope(s).abs().where(positive, 0.0) / scale_p
    alpha_n = rule.negative_slope(s).abs().where(negative, 0.0) / scale_n
    hardest_p, hardest_n = hardest_p[:, None], hardest_n[:, None]
    past_p = is_past(form, rule.positive(s), rule.negative(hardest_n))
    past_n = is_past(form, rule.negative(s), rule.positive(hardest_p))
    return {
        "alpha_p": alpha_p.sum() / num_p,
        "alpha_n": alpha_n.sum() / num_n,
        "alpha_p_max": alpha_p.max(),
        "alpha_n_max": alpha_n.max(),
        "alpha_p_zero": 1 - alpha_p.count_nonzero() / num_p,
        "alpha_n_zero": 1 - alpha_n.count_nonzero() / num_n,
        "past_boundary": (decision(form, hardest_n, hardest_p, rule) <= 0).to(s.dtype).mean(),
        "positives_past": (past_p & positive).count_nonzero() / num_p,
        "negatives_past": (past_n & negative).count_nonzero() / num_n,
    }


def _gradients(form: Form, met: Meeting) -> dict[str, Tensor]:
    """Sum of |dL/ds| over the positives and over the negatives of an anchor, by autograd through the form."""
    with torch.enable_grad():
        s = met.s.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(
            anchor_loss(replace(form, within_class=None), met._replace(s=s)).loss.sum(), s
        )
    sizes = gradient.abs()
    return {
        "gradient_p": sizes.where(met.positive, 0.0).sum(1).mean(),
        "gradient_n": sizes.where(met.negative, 0.0).sum(1).mean(),
    }


def _valid(met: Meeting) -> Meeting:
    """The anchors that have a positive and a negative."""
    valid = met.positive.any(1) & met.negative.any(1)
    return met._replace(s=met.s[valid], positive=met.positive[valid], negative=met.negative[valid],
                        norms=met.norms[valid])  # fmt: skip


def _meeting(form: Form, embeddings: Tensor, labels: Tensor, sources: Sequence[References]) -> Meeting:
    """Anchors with the references of all sources; or the references, as anchors, with the samples."""
    found = [_labelled(source, embeddings, labels) for source in sources]
    if form.anchors == "references":
        rows, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
        seen = _sample(rows, classes, labels, max(MIN_ANCHORS, MAX_PAIRS // max(1, len(embeddings))))
        rows, classes = rows[seen], classes[seen]
        s = similarities(rows, embeddings, normalize=form.normalize)
        positive, norms = classes[:, None] == labels, torch.linalg.vector_norm(rows.to(s.dtype), dim=1, keepdim=True)
        return Meeting(s, positive, ~positive, norms, labels)
    num_references = sum(len(rows) for rows, _ in found)
    num_anchors = min(len(embeddings), MAX_ANCHORS, max(MIN_ANCHORS, MAX_PAIRS // max(1, num_references)))
    anchors = torch.linspace(0, len(embeddings) - 1, num_anchors, device=labels.device).long()
    parts = []
    for source, (rows, classes) in zip(sources, found, strict=True):
        kept = _sample(rows, classes, labels[anchors], MAX_PAIRS // num_anchors)
        s = similarities(embeddings[anchors], rows[kept], normalize=form.normalize)
        positive = labels[anchors, None] == classes[kept]
        own = source is None or isinstance(source, AllRanks)
        other = anchors[:, None] != kept if own else torch.ones_like(positive)
        parts.append((s, positive & other, ~positive & other, classes[kept][None, :]))
    s, positive, negative, of_references = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    norms = torch.linalg.vector_norm(embeddings[anchors].to(s.dtype), dim=1, keepdim=True)
    return Meeting(s, positive, negative, norms, of_references[0])


def _labelled(source: References, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    if source is None or isinstance(source, AllRanks):
        return embeddings, labels
    if isinstance(source, ShardedClassWeights):
        return source.own_weight, torch.arange(source.first, source.last, device=labels.device)
    found = source.references() if isinstance(source, Source) else source
    if isinstance(found, Tensor):
        found = LabelledRows(found)
    if not isinstance(found, tuple):
        raise ValueError(f"references: found {type(found).__name__}, expected a tensor, None, or another source "
                         "of circlet.references")  # fmt: skip
    rows, classes = found
    return rows, torch.arange(len(rows), device=rows.device) if classes is None else classes


def _sample(rows: Tensor, classes: Tensor, own: Tensor, count: int) -> Tensor:
    """Indices of all references, or where they are more than `count` of a random `count` and of those of `own`."""
    if len(rows) <= count:
        return torch.arange(len(rows), device=rows.device)
    drawn = torch.randint(len(rows), (count,), generator=torch.Generator().manual_seed(0))
    kept = torch.isin(classes, own)
    kept[drawn.to(rows.device)] = True
    return kept.nonzero().squeeze(1)
