"""Which classes come next if those of a batch are to be of one category, or of a few.

Shoes are compared with shoes: negatives of other categories are easy, and teach little.
"""

import random
from collections.abc import Iterator, Sequence

from circlet.sampling.chunks import DRAWN, pop_random

Taken = tuple[int, int]  # class, chunks left


def by_category(
    num_chunks: Sequence[int], category_of: Sequence[int], per_batch: int, num_categories: int, rng: random.Random
) -> Iterator[list[tuple[int, int]]]:
    """Batches of `per_batch` distinct (class, chunk number) until no class has a chunk left, in random order.

    Each batch has its classes from the `num_categories` categories with the most chunks left, as evenly as these have
    them: first classes with the most chunks left, then (chunk number DRAWN) others of the category. Where a category
    has fewer classes than its share, the batch is filled up with what is left in the categories with the most, and at
    last with any class. So all chunks are in it once, and a batch of a category that has enough classes is of that
    category alone. How many batches there are does not depend on `rng`.

    num_chunks, category_of: of each class; categories are 0, 1, ... with at least one class each.
    """
    members: list[list[int]] = [[] for _ in range(max(category_of) + 1)]
    for c, category in enumerate(category_of):
        members[category].append(c)
    left = [_Left(classes, num_chunks) for classes in members]
    batches = []
    while any(category.total for category in left):
        ranked = sorted((category for category in left if category.total), key=lambda category: -category.total)
        num_chosen = min(num_categories, len(ranked))
        taken: list[list[Taken]] = [[] for _ in ranked]
        drawn: list[int] = []
        for place, chosen in enumerate(ranked[:num_chosen]):
            share = per_batch * (place + 1) // num_chosen - per_batch * place // num_chosen
            taken[place] = chosen.take(share, rng)
            if len(taken[place]) < share:
                inside = {c for c, _ in taken[place]}
                rest = [c for c in chosen.classes if c not in inside]
                drawn += rng.sample(rest, min(share - len(taken[place]), len(rest)))
        for place, other in enumerate(ranked):  # one that gave less than its share has nothing left
            missing = per_batch - len(drawn) - sum(map(len, taken))
            taken[place] += other.take(missing, rng)
        for place, used in enumerate(ranked):
            used.put_back(taken[place])
        batch = [(c, num_chunks[c] - chunks) for part in taken for c, chunks in part] + [(c, DRAWN) for c in drawn]
        inside = {c for c, _ in batch}
        while len(batch) < per_batch:
            c = rng.randrange(len(num_chunks))
            if c not in inside:
                inside.add(c)
                batch.append((c, DRAWN))
        batches.append(batch)
    rng.shuffle(batches)
    yield from batches


class _Left:
    """The classes of a category by their chunks left: `waiting[n]` are those with n, `total` the chunks of all."""

    def __init__(self, classes: list[int], num_chunks: Sequence[int]) -> None:
        self.classes = classes
        self.total = sum(num_chunks[c] for c in classes)
        self.waiting: list[list[int]] = [[] for _ in range(1 + max(num_chunks[c] for c in classes))]
        for c in classes:
            self.waiting[num_chunks[c]].append(c)

    def take(self, count: int, rng: random.Random) -> list[Taken]:
        """Take out up to `count` classes, those with the most chunks left first."""
        taken: list[Taken] = []
        for chunks in range(len(self.waiting) - 1, 0, -1):
            while self.waiting[chunks] and len(taken) < count:
                taken.append((pop_random(self.waiting[chunks], rng), chunks))
        self.total -= len(taken)
        return taken

    def put_back(self, taken: list[Taken]) -> None:
        """Put classes back with one chunk fewer."""
        for c, chunks in taken:
            self.waiting[chunks - 1].append(c)
        while len(self.waiting) > 1 and not self.waiting[-1]:
            self.waiting.pop()
