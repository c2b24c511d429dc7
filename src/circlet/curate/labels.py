"""Images whose label their neighbours contradict.

The ten nearest of an image vote for their labels, weighted by similarity (Dudani 1976): the nearest by 1, falling to 0
at the eleventh. Copies of an image have no vote on it. A label is *suspicious* where it gets less than a tenth of the
votes and another at least half.

A network that errs contradicts right labels too. Weakly, mostly: for five right labels that are outvoted at all, about
one is outvoted so strongly. So of S suspicious labels beside W weakly contradicted ones about S - W / 5 are wrong
(`Labels.likely`), and no more than that many, those of the highest score, are called so. Measured with the labels of
2,640 photographs of goods and five embeddings, from a Recall@1 of .97 down to .37: S / W was between .13 and .19.

With EfficientNet-Lite0 as it is, and labels of these photographs swapped at random (the mean of five draws):

| swapped | likely | precision | recall | all suspicious | precision | recall |
|---|---|---|---|---|---|---|
| none | 0 | | | 13 | | |
| 1 % | 22 | .89 | .71 | 40 | .67 | .97 |
| 2 % | 49 | .92 | .80 | 67 | .79 | .96 |
| 5 % | 120 | .94 | .85 | 140 | .90 | .94 |
| 10 % | 233 | .97 | .83 | 260 | .95 | .90 |

Two images of one class with one and the same wrong label vouch for each other, and are missed.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from circlet.curate.nearest import Nearest
from circlet.data.images import Bools, Floats, ImageSet, Ints

VOTERS = 10
OTHER, OWN = 0.5, 0.1  # a suspicious label gets less than OWN of the votes, another one at least OTHER
HONEST = 0.2  # suspicious labels that are right, for each that is contradicted weakly
LEAST_CLASS = 3  # images of a class that may be suggested, so that one wrong image suggests nothing


class Suspicion(NamedTuple):
    """An image and a label that its neighbours have instead of its own.

    score: share of the votes for `suggested`, less that for the own label: 0.4 to 1. neighbours: the nearest of the
    suggested label, at most five. likely: whether it is among those that are probably wrong.
    """

    image: int
    label: int
    suggested: int
    score: float
    neighbours: tuple[int, ...]
    likely: bool

    def to_json(self, images: ImageSet) -> dict[str, Any]:
        """By names, as plain JSON values."""
        label, suggested = (images.class_names[i] for i in (self.label, self.suggested))
        told = {"image": images.names[self.image], "label": label, "suggested": suggested}
        return {**told, "score": self.score, "likely": self.likely}


class Labels(NamedTuple):
    """suspicious: the highest score first. contradicted: how many more are contradicted weakly. judged: of how many."""

    suspicious: tuple[Suspicion, ...]
    contradicted: int
    judged: int

    @property
    def likely(self) -> int:
        """How many labels are probably wrong: more than the mistakes of the network explain."""
        return sum(found.likely for found in self.suspicious)


def suspicious_labels(nearest: Nearest, labels: Ints, groups: Ints | None = None) -> Labels:
    """What the neighbours say of the labels (n,), each image judged by the others.

    >>> import torch
    >>> from circlet.curate.nearest import nearest_of
    >>> angles = torch.cat([torch.linspace(0.0, 0.3, 8), torch.linspace(1.5, 1.8, 8)])
    >>> rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    >>> found = suspicious_labels(nearest_of(rows, 6), np.array([0] * 7 + [1] * 9))
    >>> [(one.image, one.label, one.suggested, one.likely) for one in found.suspicious]
    [(7, 1, 0, True)]

    nearest: of the same images; with more than eleven neighbours, copies that have no vote cost no voters. groups: (n,)
    equal where images are copies of each other (-1: of none). Images that are alone in their class are not judged, and
    classes of fewer than three images are not suggested.
    """
    n = len(labels)
    sizes = np.bincount(labels, minlength=1)
    judged = sizes[labels] > 1 if n else np.zeros(0, np.bool_)
    if n < LEAST_CLASS + 1 or len(sizes) < 2 or not nearest.indices.shape[1]:
        return Labels((), 0, int(judged.sum()))
    weights, voters = _weights(nearest, groups)
    theirs = labels[voters]
    own = (weights * (theirs == labels[:, None])).sum(1)
    other, suggested = _strongest_other(weights, theirs, labels, sizes)
    contradicted = judged & (other > own)
    strong = np.flatnonzero(contradicted & (other >= OTHER) & (own < OWN))
    weak = int(contradicted.sum()) - len(strong)
    likely = max(0, math.ceil(len(strong) - HONEST * weak))
    score = other - own
    order = strong[np.lexsort((strong, -score[strong]))]
    found = [
        Suspicion(
            int(i),
            int(labels[i]),
            int(suggested[i]),
            round(float(score[i]), 4),
            tuple(int(j) for j in nearest.indices[i] if labels[j] == suggested[i])[:5],
            rank < likely,
        )
        for rank, i in enumerate(order)
    ]
    return Labels(tuple(found), weak, int(judged.sum()))


def _weights(nearest: Nearest, groups: Ints | None) -> tuple[Floats, Ints]:
    """(n, k) votes of the neighbours, which sum to 1 (0 where nobody may vote), and who they are."""
    index, similarity = nearest.indices, nearest.similarity.astype(np.float64)
    allowed: Bools = np.ones(index.shape, dtype=np.bool_)
    if groups is not None:
        allowed = (groups[index] != groups[:, None]) | (groups[:, None] < 0)
    place = np.where(allowed, np.cumsum(allowed, axis=1) - 1, -1)
    first = np.where(place == 0, similarity, -np.inf).max(1, keepdims=True)
    last = np.where(allowed, similarity, np.inf).min(1, keepdims=True)  # there may be fewer than eleven
    beyond = np.where(place == VOTERS, similarity, -np.inf).max(1, keepdims=True)
    floor = np.where(np.isfinite(beyond), beyond, last - 1e-6)
    voting = (place >= 0) & (place < VOTERS)
    with np.errstate(invalid="ignore"):  # nobody may vote: -inf less inf
        weights = np.where(voting, np.maximum(similarity - floor, 1e-9) / np.maximum(first - floor, 1e-9), 0.0)
    total = weights.sum(1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0), index


def _strongest_other(weights: Floats, theirs: Ints, labels: Ints, sizes: Ints) -> tuple[Floats, Ints]:
    """(n,) the largest share of votes for a label that is not the own, and which it is (the nearest of equal ones)."""
    weights = np.where((theirs != labels[:, None]) & (sizes[theirs] >= LEAST_CLASS), weights, 0.0)
    share = np.zeros_like(weights)
    for column in range(weights.shape[1]):
        share[:, column] = (weights * (theirs == theirs[:, column, None])).sum(1)
    share[weights <= 0] = 0.0
    best = share.argmax(1)
    rows = np.arange(len(labels))
    return share[rows, best], theirs[rows, best]
