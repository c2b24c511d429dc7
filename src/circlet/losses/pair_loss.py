"""The loss of a batch by any `Form`: one way from the arguments that all losses take to a number."""

from collections.abc import Callable

import torch
from torch import Tensor

from circlet import aggregate
from circlet.aggregate import Reduction
from circlet.losses.encounter import Encounter
from circlet.losses.form import Form
from circlet.losses.statistics import AnchorLoss
from circlet.references import References, resolve


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
    for only when the loss is not finite, and only on a CPU (on another device that would wait for it: the loss is
    then NaN). A zero row has similarity 0 to everything, and gradient 0.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: found {reduction!r}, expected 'mean', 'sum' or 'none'")
    sources, batch = resolve(embeddings, labels, references, reference_labels, positive_mask)
    encounter = Encounter(sources, batch)
    form = form if isinstance(form, Form) else form(encounter)
    swapped = form.anchors == "references"
    loss = _reduced(form, encounter.losses(form), reduction)
    if not torch.compiler.is_compiling() and loss.device.type == "cpu" and not loss.isfinite().all():
        error = _not_finite([("embeddings", embeddings), *(("references", pairs.references) for pairs in sources)])
        if batch is not None:
            batch.agree(error)
        elif error is not None:
            raise error
    return loss if batch is None or reduction != "none" or swapped else batch.own_rows(loss)


def _reduced(form: Form, found: AnchorLoss, reduction: Reduction) -> Tensor:
    if form.average == "sides":
        pos = aggregate.reduce(found.pos_loss, found.has_positive, reduction)
        return pos + aggregate.reduce(found.neg_loss, found.has_negative, reduction)
    if form.average == "either":
        return aggregate.reduce(found.loss, found.has_positive | found.has_negative, reduction)
    return aggregate.reduce(found.loss, found.has_positive & found.has_negative, reduction)


def _not_finite(named_rows: list[tuple[str, Tensor | None]]) -> ValueError | None:
    """The error of the first tensor that has NaN or infinity."""
    for name, rows in named_rows:
        bad = torch.zeros(0) if rows is None else ~rows.isfinite().all(dim=1)
        if bad.any():
            first = int(bad.nonzero()[0])
            return ValueError(f"{name}: found NaN or infinity in {int(bad.sum())} of {len(bad)} rows (first: row "
                              f"{first}), expected finite values")  # fmt: skip
    return None
