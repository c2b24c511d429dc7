"""The images that wait to be put into a batch, by class; those of which the most wait come next.

Every operation on one class takes the same time, however many classes and images wait.
"""

import random

from circlet.sampling.chunks import pop_random


class Waiting:
    """Images by class, of which batches of P classes x K images are taken.

    >>> waiting = Waiting(samples_per_class=2, most_of_class=4)
    >>> for position, label in enumerate([7, 7, 8, 9, 7]):
    ...     _ = waiting.add(label, position)
    >>> waiting.finish(9)  # there is no other image of class 9, or it has come before
    >>> [label for label, _ in waiting.take(2, random.Random(0))] in ([7, 9], [9, 7])
    True
    >>> waiting.size, waiting.num_classes
    (2, 2)

    samples_per_class: K. most_of_class: of a class so many wait at most, others are passed over.
    """

    def __init__(self, samples_per_class: int, most_of_class: int) -> None:
        self.samples_per_class, self.most_of_class = samples_per_class, most_of_class
        self.images: dict[int, list[int]] = {}
        self.finished: set[int] = set()
        self.size = 0
        # By level: how many images wait, and from K on how many chunks of K. The others say where a class is.
        self._levels: list[list[int]] = [[] for _ in range(samples_per_class + most_of_class // samples_per_class + 1)]
        self._level_of: dict[int, int] = {}
        self._place_of: dict[int, int] = {}

    @property
    def num_classes(self) -> int:
        """How many classes have images waiting."""
        return len(self.images)

    def add(self, label: int, position: int) -> bool:
        """Let an image wait; False where so many of its class wait that it is passed over."""
        waiting = self.images.setdefault(label, [])
        if len(waiting) >= self.most_of_class:
            return False
        waiting.append(position)
        self.size += 1
        self._settle(label)
        return True

    def finish(self, label: int) -> None:
        """No more images of the class come: what waits of it is a chunk, however few they are."""
        self.finished.add(label)
        if label in self.images:
            self._settle(label)

    def clear(self) -> None:
        """Forget all images, and which classes are finished."""
        self.__init__(self.samples_per_class, self.most_of_class)  # type: ignore[misc]

    def take(self, num_classes: int, rng: random.Random) -> list[tuple[int, list[int]]]:
        """Take out (class, up to K of its images) for some classes, those with the most chunks first, ties by lot."""
        taken: list[int] = []
        for level in range(len(self._levels) - 1, 0, -1):
            bucket = self._levels[level]
            while bucket and len(taken) < num_classes:
                place = int(rng.random() * len(bucket))
                taken.append(bucket[place])
                self._remove(bucket[place])
        return [(label, self._chunk(label, rng)) for label in taken]

    def _chunk(self, label: int, rng: random.Random) -> list[int]:
        waiting = self.images[label]
        number = min(self.samples_per_class, len(waiting))
        if label in self.finished and len(waiting) < 2 * self.samples_per_class:
            chunks = -(-len(waiting) // self.samples_per_class)
            number = -(-len(waiting) // chunks)  # the last two are alike, so that none is left alone
        chunk = [pop_random(waiting, rng) for _ in range(number)]
        self.size -= number
        if waiting:
            self._settle(label)
        else:
            del self.images[label]
        return chunk

    def _settle(self, label: int) -> None:
        """Put a class on the level where it belongs."""
        number, k = len(self.images[label]), self.samples_per_class
        level = k - 1 + number // k if number >= k else (k if label in self.finished else number)
        if self._level_of.get(label) == level:
            return
        self._remove(label)
        self._level_of[label], self._place_of[label] = level, len(self._levels[level])
        self._levels[level].append(label)

    def _remove(self, label: int) -> None:
        level = self._level_of.pop(label, None)
        if level is None:
            return
        bucket, place = self._levels[level], self._place_of.pop(label)
        last = bucket.pop()
        if last != label:
            bucket[place], self._place_of[last] = last, place
