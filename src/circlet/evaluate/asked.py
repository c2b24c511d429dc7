"""What retrieval is asked: rows with labels and groups, checked; and the part of them that each rank is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from circlet.distributed import helpers, shares
from circlet.evaluate.checks import checked_embeddings, checked_labels, unit_pair, unit_rows
from circlet.evaluate.spread import sent


class Given(NamedTuple):
    """What `retrieval` is given, checked: unit rows and int64; items None: the queries search each other."""

    queries: Tensor
    labels: Tensor
    items: Tensor | None
    item_labels: Tensor
    groups: Tensor | None
    item_groups: Tensor | None


class Asked(NamedTuple):
    """Rows and what is known of them, as the arguments of `circlet.evaluate.retrieval`."""

    embeddings: Tensor
    labels: Tensor | Sequence[int]
    gallery: Tensor | None
    gallery_labels: Tensor | Sequence[int] | None
    groups: Tensor | Sequence[int] | None
    gallery_groups: Tensor | Sequence[int] | None


def checked(asked: Asked, *, may_be_empty: bool) -> Given:
    """Unit rows and int64, or a ValueError that names the argument. may_be_empty: there may be no row."""
    embeddings, gallery = asked.embeddings, asked.gallery
    checked_embeddings("embeddings", embeddings, may_be_empty=may_be_empty)
    labels = checked_labels("labels", asked.labels, embeddings)
    if (gallery is None) != (asked.gallery_labels is None):
        raise ValueError("gallery and gallery_labels: found one without the other, expected both or neither")
    if (asked.gallery_groups is None) != (gallery is None or asked.groups is None):
        raise ValueError("gallery_groups: found without a gallery and groups, or none with both, expected all three")
    groups = None if asked.groups is None else checked_labels("groups", asked.groups, embeddings)
    if gallery is None or asked.gallery_labels is None:
        return Given(unit_rows(embeddings), labels, None, labels, groups, groups)
    checked_embeddings("gallery", gallery, may_be_empty=may_be_empty)
    item_labels = checked_labels("gallery_labels", asked.gallery_labels, gallery)
    queries, items = unit_pair("embeddings", embeddings, "gallery", gallery)
    item_groups = None
    if asked.gallery_groups is not None:
        item_groups = checked_labels("gallery_groups", asked.gallery_groups, gallery)
    return Given(queries, labels, items, item_labels, groups, item_groups)


def parts(asked: Asked, block_size: int) -> list[Asked]:
    """What each of the ranks that help is given: whole blocks, so that no row has to change hands."""
    rows = shares(len(asked.embeddings), block_size, helpers())
    items = rows if asked.gallery is None else shares(len(asked.gallery), block_size, helpers())
    found = []
    for queries, searched in zip(rows, items, strict=True):
        bounds = (queries, queries, searched, searched, queries, searched)
        each: list[Any] = [None if x is None else sent(x, bound) for x, bound in zip(asked, bounds, strict=True)]
        found.append(Asked(*each))
    return found
