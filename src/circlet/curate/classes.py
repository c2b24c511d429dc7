"""Classes that look like one, and classes with too few images.

Two classes are one to an embedding if the neighbours of their images come from either as if the two were mixed. Of each
image the nearest are looked at, as many as its class has others, ten at most. Of those of the images of A that are in A
or B, a share is in B; were the labels drawn at random, it would be
n_B / (n_A - 1 + n_B) on average. The *mixing* of A and B is the first by the second, the mean of both ways: 0 where no
image has a neighbour in the other class, 1 where they cannot be told apart.
"""

from typing import NamedTuple

import numpy as np

from circlet.curate.nearest import Nearest
from circlet.data.images import Bools, Floats, Ints
from circlet.evaluate.intervals import Interval

MIXED = 0.5  # the lower bound of the mixing of classes that look like one
FEW = 5  # images: fewer make a class that can hardly be trained or tested
_AMONG, _LEAST, _NEIGHBOURS, _DRAWS = 0.5, 3, 10, 1000


class LookAlike(NamedTuple):
    """Two classes, by label, that look like one; mixing: 0 to about 1, with an interval of 95 % over their images.

    images: pairs of each other's images, of the first class and of the second, the most alike first, at most five.
    """

    first: int
    second: int
    mixing: Interval
    images: tuple[tuple[int, int], ...]


class FewImages(NamedTuple):
    """A class, by label, and how many images it has."""

    label: int
    images: int


def look_alike_classes(nearest: Nearest, labels: Ints, groups: Ints | None = None, *, seed: int = 0) -> list[LookAlike]:
    """Pairs of classes whose mixing is at least a half by its interval, the most mixed first.

    >>> import torch
    >>> from circlet.curate.nearest import nearest_of
    >>> rows = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    >>> rows[:20, 0] += 20
    >>> [pair[:2] for pair in look_alike_classes(nearest_of(rows, 10), np.arange(40) // 20 * 2 + np.arange(40) % 2)]
    [(0, 1), (2, 3)]

    labels: (n,) dense. groups: as of `suspicious_labels`; a copy is no neighbour. Classes of fewer than three images
    are passed over, and those most of whose neighbours are elsewhere: to an embedding that sees nothing in them all
    classes are alike. The interval draws the images of each class with replacement, 1000 times.
    """
    k = min(_NEIGHBOURS, nearest.indices.shape[1])
    if not k or not len(labels):
        return []
    index = nearest.indices[:, :k]
    theirs = labels[index]
    sizes = np.bincount(labels)
    counted = np.arange(k) < sizes[labels, None] - 1  # as many as its own class could fill
    if groups is not None:
        counted &= (groups[index] != groups[:, None]) | (groups[:, None] < 0)
    pairs = _mixed(labels, theirs, counted, sizes)
    members = _members(labels, len(sizes))
    rng = np.random.default_rng(seed)
    found = []
    for a, b in pairs:
        ways = [_way(theirs[members[x]], counted[members[x]], x, y) for x, y in ((a, b), (b, a))]
        chance = _by_chance(sizes[a], sizes[b]), _by_chance(sizes[b], sizes[a])
        mixing = _interval(ways, chance, rng)
        if mixing.low >= MIXED:
            found.append(LookAlike(a, b, mixing, _examples(nearest, labels, members, a, b)))
    return sorted(found, key=lambda pair: (-pair.mixing.low, pair.first, pair.second))


def few_images(labels: Ints, few: int = FEW) -> list[FewImages]:
    """Classes with fewer than `few` images, the fewest first.

    >>> few_images(np.array([0, 0, 0, 1, 2, 2]), 3)
    [FewImages(label=1, images=1), FewImages(label=2, images=2)]
    """
    counts = np.bincount(labels) if len(labels) else np.zeros(0, np.int64)
    found = [FewImages(label, int(count)) for label, count in enumerate(counts) if 0 < count < few]
    return sorted(found, key=lambda one: (one.images, one.label))


def _members(labels: Ints, num_classes: int) -> list[Ints]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])


def _mixed(labels: Ints, theirs: Ints, counted: Bools, sizes: Ints) -> list[tuple[int, int]]:
    """The pairs of classes that are mixed enough without an interval."""
    number = len(sizes)
    own = np.broadcast_to(labels[:, None], theirs.shape)[counted]
    total = np.bincount(own, minlength=number)
    pairs, counts = np.unique(own * number + theirs[counted], return_counts=True)
    votes = dict(zip(pairs.tolist(), counts.tolist(), strict=True))
    found = []
    for pair, there in votes.items():
        a, b = divmod(pair, number)
        back = votes.get(b * number + a, 0)
        if a >= b or not back or min(sizes[a], sizes[b]) < _LEAST:
            continue
        among = [votes.get(x * (number + 1), 0) + between for x, between in ((a, there), (b, back))]
        if among[0] < _AMONG * total[a] or among[1] < _AMONG * total[b]:
            continue
        ways = (
            there / among[0] / _by_chance(sizes[a], sizes[b]),
            back / among[1] / _by_chance(sizes[b], sizes[a]),
        )
        if sum(ways) / 2 >= MIXED:
            found.append((a, b))
    return sorted(found)


def _by_chance(own: int, other: int) -> float:
    """The share of neighbours in the other class, were the labels drawn at random."""
    return float(other / (own - 1 + other))


def _way(theirs: Ints, counted: Bools, own: int, other: int) -> Floats:
    """(images, 2) how many neighbours of each image are of its own class and of the other."""
    found: Floats = np.stack([(counted & (theirs == label)).sum(1) for label in (own, other)], axis=1).astype(
        np.float64
    )
    return found


def _interval(ways: list[Floats], chance: tuple[float, float], rng: np.random.Generator) -> Interval:
    drawn, mean = np.zeros(_DRAWS), 0.0
    for counts, by_chance in zip(ways, chance, strict=True):
        sums = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=_DRAWS) @ counts
        shares = sums[:, 1] / np.maximum(sums.sum(1), 1.0)
        drawn += shares / by_chance / 2
        mean += float(counts[:, 1].sum() / counts.sum() / by_chance / 2)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def _examples(nearest: Nearest, labels: Ints, members: list[Ints], a: int, b: int) -> tuple[tuple[int, int], ...]:
    found: dict[tuple[int, int], float] = {}
    for x, y in ((a, b), (b, a)):
        rows, columns = np.nonzero(labels[nearest.indices[members[x]]] == y)
        for i, column in zip(members[x][rows].tolist(), columns.tolist(), strict=True):
            j = int(nearest.indices[i, column])
            found[(i, j) if x == a else (j, i)] = float(nearest.similarity[i, column])
    shown: list[tuple[int, int]] = []
    for i, j in sorted(found, key=lambda pair: (-found[pair], pair)):
        if all(i != one and j != two for one, two in shown):
            shown.append((i, j))
        if len(shown) == 5:
            break
    return tuple(shown)
