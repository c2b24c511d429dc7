"""Copies in a set: equal files, and one picture saved twice in other ways; which to keep, and which reach into a test.

Who may be a copy of whom is said by the embedding (the nearest neighbours of each image), whether it is one by the
pixels (`circlet.curate.overlay`). Nothing is deleted here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from circlet.curate.nearest import Nearest
from circlet.curate.overlay import SAME, same_picture
from circlet.curate.small_pictures import SmallPictures
from circlet.data.groups import connected
from circlet.data.images import Floats, Ints
from circlet.progress import progress

CANDIDATES = 10  # nearest neighbours of an image that may be copies of it
LEAST = 0.5  # cosine of an image with a copy of it, cropped, small, mirrored and saved badly: .56 to .95
_BLOCK = 2048  # pairs between two steps of the progress bar


class Group(NamedTuple):
    """Images that are one picture: the one to keep, then the others.

    exact: all of their files are equal. scores: for each image its best correlation with another of the group (1: equal
    files). leak: images are on both sides of a split. two_labels: they are of different classes.
    """

    images: tuple[int, ...]
    scores: tuple[float, ...]
    exact: bool
    leak: bool
    two_labels: bool


class Pairs(NamedTuple):
    """indices: (P, 2) images of which the first comes before the second; score: (P,) 0 to 1."""

    indices: Ints
    score: Floats


def exact_pairs(content: Sequence[str | bytes] | Ints) -> Pairs:
    """The pairs of equal content, each image with the first that is equal to it; "" is equal to nothing.

    >>> exact_pairs(["a", "b", "a", "", "", "a"]).indices.tolist()
    [[0, 2], [0, 5]]
    """
    first: dict[object, int] = {}
    found = []
    for number, own in enumerate(content):
        if own in ("", b""):
            continue
        begin = first.setdefault(own, number)
        if begin != number:
            found.append((begin, number))
    return Pairs(np.array(found, np.int64).reshape(-1, 2), np.ones(len(found)))


def near_pairs(nearest: Nearest, pictures: SmallPictures, *, same: float = SAME, least: float = LEAST) -> Pairs:
    """The pairs that are one picture, among each image and its ten nearest.

    same: the score of `same_picture` from which on they are. least: cosine below which pairs are not looked at.
    """
    k = min(CANDIDATES, nearest.indices.shape[1])
    rows, columns = np.nonzero(nearest.similarity[:, :k] >= least)
    other = nearest.indices[rows, columns]
    pairs = np.stack([np.minimum(rows, other), np.maximum(rows, other)], axis=1).astype(np.int64)
    pairs = np.unique(pairs, axis=0)
    scores = np.zeros(len(pairs))
    with progress("compare", len(pairs), unit="pair") as shown:
        for start in range(0, len(pairs), _BLOCK):
            part = pairs[start : start + _BLOCK]
            used, place = np.unique(part, return_inverse=True)
            found = same_picture(pictures.of(used), torch.from_numpy(place.reshape(-1, 2)))
            scores[start : start + len(part)] = found.double().numpy()
            shown.advance(len(part))
    kept = scores >= same
    return Pairs(pairs[kept], scores[kept])


def grouped(
    exact: Pairs,
    near: Pairs,
    names: Sequence[str],
    labels: Ints,
    roles: Ints | None = None,
    sizes: Callable[[Ints], Ints] | None = None,
) -> list[Group]:
    """The groups that the pairs make, by the name of the first image.

    The image to keep is the largest, then the one whose name comes first. roles: (n,) numbers, the parts of a split; 0
    is trained on, others are tested on, -1 is neither; None: no split. sizes: of images by index, in pixels.
    """
    number = len(names)
    pairs = np.concatenate([exact.indices, near.indices])
    score = np.concatenate([exact.score, near.score])
    best = np.zeros(number)
    for column in (0, 1):
        np.maximum.at(best, pairs[:, column], score)
    whole, alike = connected(number, pairs), connected(number, exact.indices)
    involved = np.unique(pairs)
    pixels = np.zeros(number, np.int64)
    if sizes is not None and len(involved):
        pixels[involved] = sizes(involved)
    members: dict[int, list[int]] = {}
    for image in involved.tolist():
        members.setdefault(int(whole[image]), []).append(image)
    groups = []
    for group in members.values():
        ordered = sorted(group, key=lambda image: (-pixels[image], names[image]))
        rows = np.array(ordered)
        tested = np.zeros(0, np.int64) if roles is None else roles[rows]
        groups.append(
            Group(
                tuple(ordered),
                tuple(round(min(1.0, float(best[image])), 4) for image in ordered),
                exact=len(np.unique(alike[rows])) == 1,
                leak=bool((tested == 0).any() and (tested > 0).any()),
                two_labels=len(np.unique(labels[rows])) > 1,
            )
        )
    return sorted(groups, key=lambda group: (not group.exact, names[group.images[0]]))


def num_copies(groups: Sequence[Group], *, exact: bool) -> int:
    """How many images could go: of groups of equal files, or of near duplicates."""
    return sum(len(group.images) - 1 for group in groups if group.exact is exact)


def copies_of(groups: Sequence[Group], number: int) -> Ints:
    """(number,) the group of each image, -1 where it is in none: what `suspicious_labels` takes."""
    found = np.full(number, -1, dtype=np.int64)
    for place, group in enumerate(groups):
        found[list(group.images)] = place
    return found
