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
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from circlet.analyse.forms import decision, form_of, past, scales
from circlet.analyse.trace import Trace
from circlet.functional import Form
from circlet.losses import PairLoss
from circlet.references import AllRanks, LabelledRows, References, ShardedClassWeights, Source
from circlet.similarity.dense import similarities

MAX_PAIRS = 2**22
MAX_ANCHORS, MIN_ANCHORS = 256, 32


@runtime_checkable
class Observed(Protocol):
    """What telemetry needs of an objective: `circlet.train.Objective` has it."""

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
        the anchor's hardest of the other side (Multi-Similarity: past `base`);
        gradient_p, gradient_n: sum of |dL/ds| over the positives and over the negatives of an anchor.
    s_p, s_n: (anchors,) the hardest positive and the hardest negative of each, on the CPU.
    """

    values: dict[str, float]
    s_p: Tensor
    s_n: Tensor


class Telemetry:
    """Observes a training batch: `observe` of circlet.train.fit.

    trace: if given, the single anchors (s_p_min, s_n_max) are kept there, one line a call.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self.trace = trace

    def __call__(self, objective: nn.Module, embeddings: Tensor, labels: Tensor) -> dict[str, float]:
        """Values of `Observation` for a batch of (batch, dim) embeddings and (batch,) labels."""
        if not isinstance(objective, Observed):
            raise ValueError(f"objective: found {type(objective).__name__}, expected a loss with its sources, such as "
                             "circlet.train.Objective")  # fmt: skip
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
    form = form_of(loss)
    with torch.autocast(embeddings.device.type, enabled=False):
        s, positive, negative = _pairs(form, embeddings, labels, sources)
        valid = positive.any(1) & negative.any(1)
        s, positive, negative = s[valid], positive[valid], negative[valid]
        if not len(s):
            return Observation({}, torch.empty(0), torch.empty(0))
        hardest_p = torch.where(positive, s, torch.inf).amin(1)
        hardest_n = torch.where(negative, s, -torch.inf).amax(1)
        slope_p, slope_n = form.rule.positive_slope(s).abs(), form.rule.negative_slope(s).abs()
        logits_p, logits_n = form.rule.positive(s), form.rule.negative(s)
        past_p = past(form, logits_p, form.rule.negative(hardest_n)[:, None])
        past_n = past(form, logits_n, form.rule.positive(hardest_p)[:, None])
        logits_p, logits_n = logits_p.where(positive, -torch.inf), logits_n.where(negative, -torch.inf)
        gradient_p, gradient_n = _masses(form, logits_p, logits_n, slope_p, slope_n)
        scale_p, scale_n = scales(form)
        num_p, num_n = positive.sum().to(s.dtype), negative.sum().to(s.dtype)
        alpha_p, alpha_n = slope_p.where(positive, 0.0) / scale_p, slope_n.where(negative, 0.0) / scale_n
        means = {
            "s_p": s.where(positive, 0.0).sum() / num_p,
            "s_n": s.where(negative, 0.0).sum() / num_n,
            "s_p_min": hardest_p.mean(),
            "s_n_max": hardest_n.mean(),
            "alpha_p": alpha_p.sum() / num_p,
            "alpha_n": alpha_n.sum() / num_n,
            "alpha_p_max": alpha_p.max(),
            "alpha_n_max": alpha_n.max(),
            "alpha_p_zero": 1 - alpha_p.count_nonzero() / num_p,
            "alpha_n_zero": 1 - alpha_n.count_nonzero() / num_n,
            "past_boundary": (decision(form, hardest_n, hardest_p) < 0).to(s.dtype).mean(),
            "positives_past": (past_p & positive).count_nonzero() / num_p,
            "negatives_past": (past_n & negative).count_nonzero() / num_n,
            "gradient_p": gradient_p.mean(),
            "gradient_n": gradient_n.mean(),
        }
        together = torch.cat([torch.stack(list(means.values())), hardest_p, hardest_n]).cpu()  # waits once
    values, hardest_p, hardest_n = together.split([len(means), len(s), len(s)])
    return Observation(dict(zip(means, values.tolist(), strict=True)), hardest_p, hardest_n)


def _masses(form: Form, logits_p: Tensor, logits_n: Tensor, slope_p: Tensor, slope_n: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of |dL/ds| over the positives and over the negatives of each anchor: Z x share in the sum x |slope|.

    Logits are -inf where there is no such pair.
    """
    with torch.enable_grad():
        sides = [_statistic(form, logits).requires_grad_() for logits in (logits_p, logits_n)]
        z_p, z_n = torch.autograd.grad(form.aggregate(*sides).sum(), sides)
    return z_p * (_shares(form, logits_p) * slope_p).sum(1), z_n * (_shares(form, logits_n) * slope_n).sum(1)


def _statistic(form: Form, logits: Tensor) -> Tensor:
    return logits.logsumexp(1) if form.statistic == "logsumexp" else logits.amax(1)


def _shares(form: Form, logits: Tensor) -> Tensor:
    if form.statistic == "logsumexp":
        return logits.softmax(1)
    hardest = (logits == logits.amax(1, keepdim=True)).to(logits.dtype)
    return hardest / hardest.sum(1, keepdim=True)


def _pairs(
    form: Form, embeddings: Tensor, labels: Tensor, sources: Sequence[References]
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarities (anchors, references of all sources) with the masks of positives and of negatives."""
    found = [_labelled(source, embeddings, labels) for source in sources]
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
        parts.append((s, positive & other, ~positive & other))
    s, positive, negative = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return s, positive, negative


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
