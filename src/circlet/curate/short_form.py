"""The short form of the audit: what training says of its images, from features that it has anyway.

Looked for are images on both sides of the split that look the same, labels that are probably wrong, and classes that
look like one. No image is read; of large sets some classes are looked at. `circlet audit` is the long form.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from circlet.curate.across import near_duplicates, told
from circlet.curate.audit import ROLES
from circlet.curate.classes import look_alike_classes
from circlet.curate.joined import joined
from circlet.curate.labels import VOTERS, suspicious_labels
from circlet.curate.nearest import nearest_of
from circlet.data.images import ImageSet, Ints
from circlet.data.notes import cut

MOST = 20_000  # images whose labels are looked at: a second or two
KEPT = 100  # findings of a kind
ONE = 0.8  # the lower bound of the mixing of classes that training warns of


class ShortForm(NamedTuple):
    """warnings: sentences that somebody should read; none where all is well. content: findings, as JSON values."""

    warnings: tuple[str, ...]
    content: dict[str, Any]


def short_form(
    sets: Sequence[ImageSet], features: Sequence[Tensor], *, most: int = MOST, of_vectors: bool = False
) -> ShortForm:
    """Look at train, query and perhaps gallery, by their features (n, dim) each.

    >>> from circlet.data import glyphs
    >>> splits = glyphs()
    >>> sets = [splits.train.subset(range(4)), splits.query.subset(range(4))]
    >>> short_form(sets, [torch.eye(8)[:4], torch.eye(8)[4:]]).warnings
    ()

    most: of a larger number of images, classes are drawn at random until there are so many. of_vectors: the features
    are what was given; `circlet audit` has no pictures to show then.
    """
    shown = "audit.json of the run lists them" if of_vectors else "circlet audit shows them"
    warnings, leaks = [], []
    for role, images, rows in zip(ROLES[1:], sets[1:], features[1:], strict=False):
        found = near_duplicates(features[0], rows)
        if found:
            warnings.append(told(found, sets[0].names, images.names, of_vectors=of_vectors))
        leaks += [
            {"train": sets[0].names[one.first], role: images.names[one.second], "similarity": one.similarity}
            for one in sorted(found, key=lambda one: -one.similarity)[:KEPT]
        ]
    images, rows = joined(sets), torch.cat(list(features))
    chosen = _chosen(images, most)
    if chosen is not None:
        images, rows = images.subset(chosen), rows[torch.from_numpy(chosen)]
    nearest = nearest_of(rows, VOTERS + 1)
    labels = suspicious_labels(nearest, images.labels)
    pairs = look_alike_classes(nearest, images.labels)
    if labels.likely:
        first = labels.suspicious[0]
        label, looks = (cut(images.class_names[i]) for i in (first.label, first.suggested))
        warnings.append(f"{labels.likely} of {labels.judged} labels are probably wrong, such as that of "
                        f"{cut(images.names[first.image])} ({label}, looks like {looks}); {shown}")  # fmt: skip
    alike = [pair for pair in pairs if pair.mixing.low >= ONE]
    if alike:
        one, other = (cut(images.class_names[i]) for i in (alike[0].first, alike[0].second))
        many = f"{len(alike)} pairs" if len(alike) > 1 else "1 pair"
        warnings.append(f"{many} of classes cannot be told apart, such as {one} and {other}; {shown}")
    return ShortForm(
        tuple(warnings),
        {
            "judged": labels.judged,
            "likely": labels.likely,
            "leaks": leaks,
            "suspicious": [one.to_json(images) for one in labels.suspicious[:KEPT]],
            "look_alike": [
                {
                    "classes": [images.class_names[pair.first], images.class_names[pair.second]],
                    "mixing": [round(bound, 4) for bound in pair.mixing],
                }
                for pair in pairs[:KEPT]
            ],
        },
    )


def _chosen(images: ImageSet, most: int) -> Ints | None:
    """The images of classes drawn until there are `most`; None: all."""
    if len(images) <= most:
        return None
    sizes = np.bincount(images.labels)
    order = np.random.default_rng(0).permutation(len(sizes))
    kept = order[np.cumsum(sizes[order]) <= most]
    found: Ints = np.flatnonzero(np.isin(images.labels, kept))
    return found
