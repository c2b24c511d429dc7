"""All that is suspicious in a set of images: copies, leaks, labels, classes. Nothing is changed.

What is found is said by index; `circlet.curate.listing` makes rows, JSON and sentences of it, `circlet.curate.page` a
page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from circlet.curate.classes import FewImages, LookAlike, few_images, look_alike_classes
from circlet.curate.duplicates import CANDIDATES, Group, Pairs, copies_of, exact_pairs, grouped, near_pairs
from circlet.curate.joined import joined
from circlet.curate.labels import VOTERS, Labels, suspicious_labels
from circlet.curate.nearest import Nearest, nearest_of
from circlet.curate.overlay import SAME
from circlet.curate.small_pictures import areas, small_pictures
from circlet.data.images import ImageSet, Ints, Splits
from circlet.data.pictures import pictures

ROLES = ("train", "query", "gallery")


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found in `images`; groups and suspicions name images by index, classes by label.

    roles: (n,) places in `ROLES`, -1 for an image that has none; None: there is no split. labelled: whether there are
    classes to judge. broken: (name, reason) of each image that could not be read and was passed over.
    """

    images: ImageSet
    roles: Ints | None
    groups: tuple[Group, ...]
    labels: Labels
    look_alike: tuple[LookAlike, ...]
    few: tuple[FewImages, ...]
    broken: tuple[tuple[str, str], ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether there are two classes at least, so that labels can be judged."""
        return self.images.num_classes > 1

    @property
    def leaks(self) -> tuple[Group, ...]:
        """Groups with images on both sides of the split."""
        return tuple(group for group in self.groups if group.leak)


def audit(
    images: ImageSet | Splits,
    embeddings: Tensor,
    *,
    roles: Ints | None = None,
    same: float = SAME,
    broken: Sequence[tuple[str, str]] = (),
) -> Audit:
    """Look at a set through its embeddings.

    >>> import torch
    >>> from circlet.data import glyphs
    >>> found = audit(glyphs().query.subset(range(6)), torch.eye(6))
    >>> len(found.groups), found.labels.suspicious, [one.images for one in found.few]
    (0, (), [...])

    images: a set, or splits: those of train, query and gallery, one after the other. embeddings: (n, dim), of any
    length, in their order. roles: of a set (see `Audit`); splits have their own. same: from which score on two images
    are one picture (`circlet.curate.overlay`). Images are read twice: as bytes, if others are of their size, and
    as small pictures. Memory is proportional to n.

    ValueError where embeddings or roles are not as many as images.
    """
    images, roles = _as_one(images, roles)
    if embeddings.ndim != 2 or len(embeddings) != len(images):
        raise ValueError(f"embeddings: found shape {tuple(embeddings.shape)}, expected ({len(images)}, dim)")
    if roles is not None and roles.shape != (len(images),):
        raise ValueError(f"roles: found shape {roles.shape}, expected ({len(images)},)")
    nearest = nearest_of(embeddings, VOTERS + 1 + CANDIDATES)
    groups = _groups(images, nearest, roles, same)
    return Audit(
        images, roles, tuple(groups), *of_labels(nearest, images, copies_of(groups, len(images))), tuple(broken)
    )


def of_labels(
    nearest: Nearest, images: ImageSet, copies: Ints | None
) -> tuple[Labels, tuple[LookAlike, ...], tuple[FewImages, ...]]:
    """What the labels alone show; nothing where all images are of one class."""
    if images.num_classes < 2:
        return Labels((), 0, 0), (), ()
    return (
        suspicious_labels(nearest, images.labels, copies),
        tuple(look_alike_classes(nearest, images.labels, copies)),
        tuple(few_images(images.labels)),
    )


def duplicates(images: ImageSet, embeddings: Tensor | None, *, same: float = SAME) -> list[Group]:
    """The groups of copies alone; without embeddings, of equal files alone."""
    return _groups(images, None if embeddings is None else nearest_of(embeddings, CANDIDATES), None, same)


def _groups(images: ImageSet, nearest: Nearest | None, roles: Ints | None, same: float) -> list[Group]:
    exact = exact_pairs(pictures(images).content)
    near = Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    if nearest is not None and len(images) > 1:
        near = near_pairs(nearest, small_pictures(images), same=same)
    return grouped(exact, near, images.names, images.labels, roles, lambda indices: areas(images, indices))


def _as_one(images: ImageSet | Splits, roles: Ints | None) -> tuple[ImageSet, Ints | None]:
    if isinstance(images, ImageSet):
        return images, None if roles is None else np.asarray(roles, dtype=np.int64)
    if roles is not None:
        raise ValueError("roles: found with splits, which have their own, expected none")
    sets = [part for part in (images.train, images.query, images.gallery) if part is not None]
    return joined(sets), np.repeat(np.arange(len(sets)), [len(part) for part in sets])
