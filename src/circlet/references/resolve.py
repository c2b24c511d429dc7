"""From the arguments that every loss takes to `Pairs`, one for each source, with the checks at the public edge.

Every loss takes the same four arguments (embeddings, labels, references, reference_labels). No similarity is computed
here.
"""

import torch
from torch import Tensor

from circlet.references.sources import References, Source
from circlet.similarity import Pairs


def resolve(
    embeddings: Tensor,
    labels: Tensor | None,
    references: References | list[References],
    reference_labels: Tensor | None,
    positive_mask: Tensor | None,
) -> list[Pairs]:
    """Check the arguments of a loss and give the pairs of each source.

    ValueError names the argument, what was found and what was expected. Labels beyond the class weights are found
    here on a CPU; on another device and in compiled code by an assertion that does not wait for the device.
    """
    _check_rows("embeddings", embeddings)
    if (labels is None) == (positive_mask is None):
        both = "neither" if labels is None else "both"
        raise ValueError(f"labels, positive_mask: found {both}, expected one of the two")
    if labels is not None:
        _check_labels("labels", labels, embeddings, "embeddings")
    if isinstance(references, list):
        if not references:
            raise ValueError("references: found an empty list, expected at least one source")
        if reference_labels is not None or positive_mask is not None:
            name = "positive_mask" if reference_labels is None else "reference_labels"
            raise ValueError(f"{name}: found with a list of sources, expected a single source; in a list, pair a "
                             "tensor with its labels: [(references, labels), ...]")  # fmt: skip
        return [_pairs(embeddings, labels, *_rows(source), None) for source in references]
    rows, own_labels = _rows(references)
    if reference_labels is not None and own_labels is not None:
        raise ValueError("reference_labels: found with a source that has labels of its own, expected None")
    if reference_labels is not None and rows is None:
        raise ValueError("reference_labels: found without references, expected None (the batch has the labels given)")
    return [_pairs(embeddings, labels, rows, own_labels if own_labels is not None else reference_labels, positive_mask)]


def _rows(source: References) -> tuple[Tensor | None, Tensor | None]:
    if source is None:
        return None, None
    if isinstance(source, Tensor):
        return source, None
    if isinstance(source, tuple) and len(source) == 2:
        return source
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
        _check_rows("references", references)
        if references.shape[1] != embeddings.shape[1]:
            raise ValueError(f"references: found {references.shape[1]} columns, expected {embeddings.shape[1]} "
                             "as in embeddings")  # fmt: skip
    if positive_mask is not None:
        expected = (len(embeddings), len(embeddings if references is None else references))
        if positive_mask.dtype != torch.bool or positive_mask.shape != expected:
            raise ValueError(f"positive_mask: found {positive_mask.dtype} {tuple(positive_mask.shape)}, "
                             f"expected torch.bool {expected}")  # fmt: skip
        return Pairs(embeddings, references, None, None, positive_mask)
    assert labels is not None
    if references is None:
        return Pairs(embeddings, None, labels, None)
    if reference_labels is None:
        _check_range(labels, len(references))
        reference_labels = torch.arange(len(references), device=labels.device)
    else:
        _check_labels("reference_labels", reference_labels, references, "references")
    return Pairs(embeddings, references, labels, reference_labels)


def _check_rows(name: str, rows: Tensor) -> None:
    if not isinstance(rows, Tensor):
        raise ValueError(f"{name}: found {type(rows).__name__}, expected a tensor")
    if rows.ndim != 2:
        raise ValueError(f"{name}: found shape {tuple(rows.shape)}, expected (rows, dim)")
    if not rows.is_floating_point():
        raise ValueError(f"{name}: found {rows.dtype}, expected a floating-point dtype")


def _check_labels(name: str, labels: Tensor, rows: Tensor, rows_name: str) -> None:
    if not isinstance(labels, Tensor):
        raise ValueError(f"{name}: found {type(labels).__name__}, expected a tensor")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: found {labels.dtype}, expected integers")
    if labels.shape != rows.shape[:1]:
        raise ValueError(f"{name}: found shape {tuple(labels.shape)}, expected ({len(rows)},), one for each row of "
                         f"{rows_name}")  # fmt: skip
    if labels.device != rows.device:
        raise ValueError(f"{name}: found on {labels.device}, expected on {rows.device} as {rows_name}")


def _check_range(labels: Tensor, num_classes: int) -> None:
    if labels.numel() == 0:
        return
    low, high = labels.aminmax()
    if torch.compiler.is_compiling() or labels.device.type != "cpu":
        torch._assert_async((low >= 0) & (high < num_classes), "labels: found a class id beyond the class weights")
    elif low < 0 or high >= num_classes:
        found = int(low if low < 0 else high)
        raise ValueError(f"labels: found class id {found}, expected 0 to {num_classes - 1}: references has "
                         f"{num_classes} rows, one for each class (give reference_labels if they are not)")  # fmt: skip
