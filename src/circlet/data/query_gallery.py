"""The test side of a data set, ready to embed: query and gallery pixels, and labels that can be compared."""

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from circlet.data.images import Splits
from circlet.data.pixels import Decoding, Pixels, load_pixels


class Groups(TypedDict, total=False):
    """Keywords of `circlet.evaluate.retrieval`: what the images of a query's group are, which it passes over."""

    groups: Tensor
    gallery_groups: Tensor


@dataclass(frozen=True)
class TestSet:
    """Query and gallery pixels, and labels that are equal where the classes are.

    gallery None: every query searches all the other queries.
    """

    query: Pixels
    gallery: Pixels | None
    query_labels: Tensor
    gallery_labels: Tensor | None

    @property
    def searched(self) -> Pixels:
        """What a query searches."""
        return self.query if self.gallery is None else self.gallery

    @property
    def groups(self) -> "Groups":
        """Groups that a query passes over, as keywords of `circlet.evaluate.retrieval`; empty where none are known."""
        query, searched = self.query.images.groups, self.searched.images.groups
        if query is None or searched is None:
            return {}
        own = torch.from_numpy(query)
        if self.gallery is None:
            return {"groups": own}
        return {"groups": own, "gallery_groups": torch.from_numpy(searched)}

    @property
    def broken(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of each image that was left out."""
        return self.query.broken + (() if self.gallery is None else self.gallery.broken)


def load_test_set(splits: Splits, decoding: Decoding) -> TestSet:
    """The query and gallery images of a data set, ready to embed."""
    query = load_pixels(splits.query, decoding)
    gallery = None if splits.gallery is None else load_pixels(splits.gallery, decoding)
    return as_test_set(query, gallery)


def as_test_set(query: Pixels, gallery: Pixels | None = None) -> TestSet:
    """The test set of these pixels, with labels that are equal where the class names are."""
    if gallery is None:
        return TestSet(query, None, torch.from_numpy(query.images.labels), None)
    sets = Splits(query.images, query.images, gallery.images, closed_set=True)
    query_labels, gallery_labels = (torch.from_numpy(labels) for labels in sets.matching_labels())
    return TestSet(query, gallery, query_labels, gallery_labels)
