"""Which classes come next: those with the most chunks of images left.

A chunk is K images of a class, cut from its shuffled images.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

DRAWN = -1  # the chunk number of a class that fills a batch up: any of its images


def most_left_first(num_chunks: Sequence[int], per_batch: int, rng: random.Random) -> Iterator[list[tuple[int, int]]]:
    """Batches of up to `per_batch` distinct (class, chunk number), classes with the most chunks left first.

    `waiting[left]` holds the classes with `left` chunks to go, so that a batch costs O(per_batch) however many classes
    there are.
    """
    most = max(num_chunks)
    waiting: list[list[int]] = [[] for _ in range(most + 1)]
    for c, left in enumerate(num_chunks):
        waiting[left].append(c)
    while most:
        taken: list[tuple[int, int]] = []
        left = most
        while left and len(taken) < per_batch:
            for _ in range(min(per_batch - len(taken), len(waiting[left]))):
                taken.append((pop_random(waiting[left], rng), left))
            left -= 1
        for c, left in taken:
            waiting[left - 1].append(c)
        while most and not waiting[most]:
            most -= 1
        yield [(c, num_chunks[c] - left) for c, left in taken]


def pop_random(items: list[T], rng: random.Random) -> T:
    """Take a random item out of a list, whose order changes."""
    i = rng.randrange(len(items))
    items[i], items[-1] = items[-1], items[i]
    return items.pop()


def draw(places: range, count: int, rng: random.Random) -> list[int]:
    """Up to `count` distinct places."""
    return rng.sample(places, min(count, len(places)))
