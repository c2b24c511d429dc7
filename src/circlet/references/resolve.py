"""From the arguments that every loss takes to `Pairs`, one for each source, with the checks at the public edge.

Every loss takes the same four arguments (embeddings, labels, references, reference_labels). No similarity is computed
here.
"""

import torch
from torch import Tensor

from circlet.distributed import own_or_world
from circlet.references.checks import check_device, check_labels, check_range, check_rows
from circlet.references.ranks import AllRanks, GlobalBatch, SpreadSource
from circlet.references.sources import ClassWeights, References, Source
from circlet.similarity import Pairs


def resolve(
    embeddings: Tensor,
    labels: Tensor | None,
    references: References | list[References],
    reference_labels: Tensor | None,
    positive_mask: Tensor | None,
) -> tuple[list[Pairs], GlobalBatch | None]:
    """Check the arguments of a loss; give the pairs of each source and, with a `SpreadSource`, the global batch.

    ValueError names the argument, what was found and what was expected. Labels beyond the class weights are found
    here on a CPU; on another device and in compiled code by an assertion that does not wait for the device.
    """
    sources = references if isinstance(references, list) else [references]
    # To ask what cannot be one takes as long as all other checks together.
    objects = [source for source in sources if source is not None and not isinstance(source, Tensor | tuple)]
    spread = [source for source in objects if isinstance(source, SpreadSource)]
    if not spread:
        return _resolve(embeddings, labels, references, reference_labels, positive_mask), None
    against_itself = any(isinstance(source, AllRanks) for source in spread)
    local: list[Pairs] = []
    error = None
    try:
        if reference_labels is not None or positive_mask is not None:
            name = "positive_mask" if reference_labels is None else "reference_labels"
            raise ValueError(f"{name}: found with a source over all ranks, expected labels alone")
        if len({own_or_world(source.process_group) for source in spread}) > 1:
            raise ValueError("references: found sources of several process groups, expected one for all")
        plain = [source for source in sources if not isinstance(source, SpreadSource)]
        if against_itself and any(source is None for source in plain):
            raise ValueError("references: found None beside AllRanks, expected AllRanks alone: the own batch is in it")
        # With the batch itself at the end, so that its checks run if there is no plain source.
        local = _resolve(embeddings, labels, [*plain, None], None, None)[: len(plain)]
        assert labels is not None
        for source in spread:
            source.check(embeddings, labels)
    except ValueError as found:
        error = found
    batch = GlobalBatch(embeddings, labels, spread[0].process_group, error, against_itself=against_itself)
    local = [
        pairs._replace(
            anchors=batch.embeddings,
            references=None if pairs.references is None else batch.replicated(pairs.references),
        )
        for pairs in local
    ]
    return [*local, *(pairs for source in spread for pairs in source.pairs(batch))], batch


def _resolve(
    embeddings: Tensor,
    labels: Tensor | None,
    references: References | list[References],
    reference_labels: Tensor | None,
    positive_mask: Tensor | None,
) -> list[Pairs]:
    check_rows("embeddings", embeddings)
    if (labels is None) == (positive_mask is None):
        both = "neither" if labels is None else "both"
        raise ValueError(f"labels, positive_mask: found {both}, expected one of the two")
    if labels is not None:
        check_labels("labels", labels, embeddings, "embeddings")
    if isinstance(references, list):
        if not references:
            raise ValueError("references: found an empty list, expected at least one source")
        if reference_labels is not None or positive_mask is not None:
            name = "positive_mask" if reference_labels is None else "reference_labels"
            raise ValueError(f"{name}: found with a list of sources, expected a single source; in a list, pair a "
                             "tensor with its labels: [(references, labels), ...]")  # fmt: skip
        return [_pairs(embeddings, labels, *_rows(source, labels), None) for source in references]
    rows, own_labels = _rows(references, labels)
    if reference_labels is not None and own_labels is not None:
        raise ValueError("reference_labels: found with a source that has labels of its own, expected None")
    if reference_labels is not None and rows is None:
        raise ValueError("reference_labels: found without references, expected None (the batch has the labels given)")
    return [_pairs(embeddings, labels, rows, own_labels if own_labels is not None else reference_labels, positive_mask)]


def _rows(source: References, labels: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if source is None:
        return None, None
    if isinstance(source, Tensor):
        return source, None
    if isinstance(source, tuple) and len(source) == 2:
        return source
    if isinstance(source, ClassWeights) and labels is not None:
        check_range(labels, source.num_classes)
    if isinstance(source, Source):
        return source.references()
    raise ValueError(
        f"references: found {type(source).__name__}, expected a tensor (num_references, dim), an object with a "
        "references() method such as ClassWeights, a (tensor, labels) pair, None for the batch, or a list of these"
    )


def _pairs(
    embeddings: Tensor,
    labels: Tensor | None,
    references: Tensor | None,
    reference_labels: Tensor | None,
    positive_mask: Tensor | None,
) -> Pairs:
    if references is not None:
        check_rows("references", references, embeddings.shape[1])
        check_device("references", references, embeddings)
    if positive_mask is not None:
        expected = (len(embeddings), len(embeddings if references is None else references))
        if positive_mask.dtype != torch.bool or positive_mask.shape != expected:
            raise ValueError(f"positive_mask: found {positive_mask.dtype} {tuple(positive_mask.shape)}, "
                             f"expected torch.bool {expected}")  # fmt: skip
        check_device("positive_mask", positive_mask, embeddings)
        return Pairs(embeddings, references, None, None, positive_mask)
    assert labels is not None
    if references is None:
        return Pairs(embeddings, None, labels, None)
    if reference_labels is None:
        check_range(labels, len(references))
        reference_labels = torch.arange(len(references), device=labels.device)
    else:
        check_labels("reference_labels", reference_labels, references, "references")
    return Pairs(embeddings, references, labels, reference_labels)
