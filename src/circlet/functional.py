"""The losses as functions: each is a similarity, a rule and an aggregate, on any references.

| function              | similarity    | rule                       | statistic  | aggregate                          |
|-----------------------|---------------|----------------------------|------------|------------------------------------|
| unified_loss          | cosine        | ConstantMargin(m, gamma)   | logsumexp  | softplus(pos + neg)                |
| circle_loss           | cosine        | Circle(m, gamma)           | logsumexp  | softplus(pos + neg)                |
| am_softmax_loss       | cosine        | ConstantMargin(m, gamma)   | logsumexp  | softplus(pos + neg)                |
| arcface_loss          | cosine        | AngularMargin(m, gamma)    | logsumexp  | softplus(pos + neg)                |
| normface_loss         | cosine        | ConstantMargin(0, gamma)   | logsumexp  | softplus(pos + neg)                |
| softmax_loss          | inner product | ConstantMargin(0, 1)       | logsumexp  | softplus(pos + neg)                |
| n_pair_loss           | inner product | ConstantMargin(0, 1)       | logsumexp  | softplus(pos + neg)                |
| info_nce_loss         | cosine        | ConstantMargin(0, 1/tau)   | logsumexp  | softplus(pos + neg)                |
| lifted_structure_loss | cosine        | ConstantMargin(m, gamma)   | logsumexp  | relu(pos + neg)                    |
| triplet_loss          | cosine        | ConstantMargin(m, 1)       | max        | relu(pos + neg)                    |
| multi_similarity_loss | cosine        | TwoScales(a, b, base)      | logsumexp  | softplus(pos)/a + softplus(neg)/b  |

All take the same arguments, explained once at `pair_loss`; `pair_loss` with a `Form` of your own is a new loss.
That several rows are equal is the paper's point: they differ only in what they are usually compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from circlet import aggregate
from circlet.aggregate import Reduction
from circlet.references import References, resolve
from circlet.rules import AngularMargin, Circle, ConstantMargin, TwoScales
from circlet.similarity import Rule, Statistic, merge, pair_lse

TRIPLET_MARGIN = 0.3
LIFTED_MARGIN = 0.5
INFO_NCE_TEMPERATURE = 0.07


@dataclass(frozen=True)
class Form:
    """One loss of the family: rule, aggregate, similarity (cosine if `normalize`, else inner product), statistic."""

    rule: Rule
    aggregate: Callable[[Tensor, Tensor], Tensor] = aggregate.softplus
    normalize: bool = True
    statistic: Statistic = "logsumexp"


def pair_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    references: References | list[References],
    reference_labels: Tensor | None,
    positive_mask: Tensor | None,
    reduction: Reduction,
    form: Form,
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
    reduction: "mean" over the valid anchors (at least one positive and one negative), "sum", or "none": (batch,),
        0 for an invalid anchor. With no valid anchor the loss is 0 and differentiable.

    Raises ValueError for a wrong shape, dtype, device or label, and for NaN or infinite values; the latter are looked
    for only when the loss is not finite, and only on a CPU (on another device that would wait for it: the loss is
    then NaN). A zero row has similarity 0 to everything, and gradient 0.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: found {reduction!r}, expected 'mean', 'sum' or 'none'")
    sources, batch = resolve(embeddings, labels, references, reference_labels, positive_mask)
    if batch is None:
        parts = [pair_lse(pairs, form.rule, normalize=form.normalize, statistic=form.statistic) for pairs in sources]
        lse = merge(parts, form.statistic)
    else:
        lse = batch.lse(sources, form.rule, normalize=form.normalize, statistic=form.statistic)
    loss = aggregate.reduce(form.aggregate(lse.pos, lse.neg), lse.valid, reduction)
    if not torch.compiler.is_compiling() and loss.device.type == "cpu" and not loss.isfinite().all():
        error = _not_finite([("embeddings", embeddings), *(("references", pairs.references) for pairs in sources)])
        if batch is not None:
            batch.agree(error)
        elif error is not None:
            raise error
    return loss if batch is None or reduction != "none" else batch.own_rows(loss)


def unified_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    margin: float = ConstantMargin.margin,
    gamma: float = ConstantMargin.gamma,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Unified loss of Eq. 1: log[1 + sum_j exp(gamma (s_n^j + m)) sum_i exp(-gamma s_p^i)], per anchor.

    Arguments as in `pair_loss`. margin: in units of cosine similarity. gamma: scale, > 0.
    """
    form = Form(ConstantMargin(margin, gamma))
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def circle_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    margin: float = Circle.margin,
    gamma: float = Circle.gamma,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Circle loss (CVPR 2020, Eq. 6 and 8): each similarity is weighted by its distance from its optimum.

    L = log[1 + sum_j exp(gamma alpha_n^j (s_n^j - m)) sum_i exp(-gamma alpha_p^i (s_p^i - (1 - m)))] per anchor, with
    alpha_n = [s_n + m]+ and alpha_p = [1 + m - s_p]+ detached, as the paper's gradients (Eq. 9 and 10) need.

    Arguments as in `pair_loss`. margin: the radius of the decision circle is sqrt(2) margin; within-class
    similarities aim at > 1 - margin, between-class ones at < margin. gamma: scale, > 0.
    Paper settings: class-level faces 0.25, 256 (the default); class-level person re-ID 0.25, 128; pair-wise
    fine-grained retrieval 0.4, 80 with 16 classes x 5 images. Losses in the hundreds are normal at the start: warm
    the learning rate up.

    >>> import torch
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> print(f"{circle_loss(embeddings, labels, margin=0.4, gamma=80.0):.4f}")
    28.8648
    >>> class_weights = torch.eye(2)
    >>> circle_loss(embeddings, labels, class_weights, reduction="none").shape
    torch.Size([4])
    """
    form = Form(Circle(margin, gamma))
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def am_softmax_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    margin: float = ConstantMargin.margin,
    gamma: float = ConstantMargin.gamma,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """AM-Softmax, also known as CosFace (Eq. 2): softmax cross-entropy on gamma cos, the target's cos less a margin.

    Usually class-level; with several positives it is `unified_loss`. Arguments as in `pair_loss`. margin: in units
    of cosine similarity. gamma: scale, > 0. Defaults: the paper's baseline for faces.
    Sources: Wang et al., "Additive Margin Softmax" and "CosFace", 2018.
    """
    form = Form(ConstantMargin(margin, gamma))
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def arcface_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    margin: float = AngularMargin.margin,
    gamma: float = AngularMargin.gamma,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """ArcFace: softmax cross-entropy on gamma cos, with a margin added to the target's angle.

    Arguments as in `pair_loss`. margin: radians. gamma: scale, > 0. Beyond the angle pi - margin the target's logit
    goes on as gamma (s - margin sin(margin)). Source: Deng et al., CVPR 2019, Eq. 3.
    """
    form = Form(AngularMargin(margin, gamma))
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def normface_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    gamma: float = ConstantMargin.gamma,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """NormFace: softmax cross-entropy on gamma cos: AM-Softmax without its margin (Eq. 2, m = 0).

    Arguments as in `pair_loss`. gamma: scale, > 0. Source: Wang et al., "NormFace", 2017.
    """
    form = Form(ConstantMargin(0.0, gamma))
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def softmax_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax cross-entropy on inner products, without a bias (Eq. 2 with gamma = 1, m = 0).

    With class weights it equals torch.nn.functional.cross_entropy(embeddings @ weights.T, labels).
    Arguments as in `pair_loss`.
    """
    form = Form(ConstantMargin(0.0, 1.0), normalize=False)
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def n_pair_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Multi-class N-pair loss: log[1 + sum_j exp(x.n_j - x.p)] on inner products.

    The original has one positive for each anchor: give two samples of each class. With more, Eq. 1 with gamma = 1,
    m = 0. Its L2 penalty on the embeddings is left to the caller. Arguments as in `pair_loss`.
    Source: Sohn, NeurIPS 2016, Eq. 6.
    """
    form = Form(ConstantMargin(0.0, 1.0), normalize=False)
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def info_nce_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    temperature: float = INFO_NCE_TEMPERATURE,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """InfoNCE (NT-Xent) on cosine: -log( e^(s_p/tau) / (e^(s_p/tau) + sum_j e^(s_n^j/tau)) ).

    Exactly that with one positive for each anchor (two views of an image). With more it is Eq. 1 with
    gamma = 1/tau, m = 0, which asks that *every* positive beats every negative; SupCon averages over the positives
    instead, which is not a log-sum-exp of positive logits and so not of this family.
    Arguments as in `pair_loss`. temperature: tau, > 0. Sources: van den Oord et al. 2018; Chen et al. 2020.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: found {temperature}, expected > 0")
    form = Form(ConstantMargin(0.0, 1.0 / temperature))
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def lifted_structure_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    margin: float = LIFTED_MARGIN,
    gamma: float = ConstantMargin.gamma,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Lifted-Structure loss per anchor: [log sum_j e^(gamma (s_n^j + m)) + log sum_i e^(-gamma s_p^i)]+.

    The per-anchor form of Hermans et al. 2017 (Eq. 11), on cosine similarity in place of the negative distance and
    without the square of Oh Song et al., CVPR 2016. Arguments as in `pair_loss`. margin: in units of cosine
    similarity. gamma: scale, > 0.
    """
    form = Form(ConstantMargin(margin, gamma), aggregate.hinge)
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def triplet_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    margin: float = TRIPLET_MARGIN,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Triplet loss with batch-hard mining, on cosine: [max_j s_n^j - min_i s_p^i + m]+ per anchor (Eq. 3).

    The limit of `unified_loss` / gamma for gamma to infinity. Arguments as in `pair_loss`. margin: in units of
    cosine similarity. Equally hard pairs share the gradient. Source: Hermans et al. 2017.
    """
    form = Form(ConstantMargin(margin, 1.0), aggregate.hinge, statistic="max")
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def multi_similarity_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    references: References | list[References] = None,
    reference_labels: Tensor | None = None,
    *,
    alpha: float = TwoScales.alpha,
    beta: float = TwoScales.beta,
    base: float = TwoScales.base,
    positive_mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Multi-Similarity loss: positives and negatives in a softplus each, with a scale each.

    L = log[1 + sum_i e^(-alpha (s_p^i - base))] / alpha + log[1 + sum_j e^(beta (s_n^j - base))] / beta, per anchor.
    Without the pair mining of the paper's section 3.3. As in every loss here, an anchor without a positive or
    without a negative has no loss; the authors keep its other half.
    Arguments as in `pair_loss`. alpha, beta: scales, > 0. base: cosine similarity. Source: Wang et al., CVPR 2019.
    """
    form = Form(TwoScales(alpha, beta, base), partial(aggregate.separate_softplus, alpha=alpha, beta=beta))
    return pair_loss(embeddings, labels, references, reference_labels, positive_mask, reduction, form)


def _not_finite(named_rows: list[tuple[str, Tensor | None]]) -> ValueError | None:
    """The error of the first tensor that has NaN or infinity."""
    for name, rows in named_rows:
        bad = torch.zeros(0) if rows is None else ~rows.isfinite().all(dim=1)
        if bad.any():
            first = int(bad.nonzero()[0])
            return ValueError(f"{name}: found NaN or infinity in {int(bad.sum())} of {len(bad)} rows (first: row "
                              f"{first}), expected finite values")  # fmt: skip
    return None
