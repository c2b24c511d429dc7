"""Batches of P classes x K images, which pair-wise labels need."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch

from circlet.sampling.categories import by_category
from circlet.sampling.chunks import DRAWN, draw, most_left_first
from circlet.sampling.epochs import EpochBatches, whole


class PKSampler(EpochBatches):
    r"""Batches of P classes with K images each that cover every image in every epoch.

    >>> sampler = PKSampler([0, 0, 0, 1, 1, 2, 2, 2, 2], num_classes_per_batch=2, samples_per_class=2)
    >>> len(sampler)  # chunks per class: 2, 1, 2
    3
    >>> batches = list(sampler)
    >>> [len(batch) for batch in batches]
    [4, 4, 4]
    >>> sorted(set(sum(batches, []))) == list(range(9))
    True
    >>> list(sampler) == batches  # a second pass is epoch 1
    False
    >>> sampler.set_epoch(0, start_batch=2)  # epoch 0 again, from its third batch on
    >>> list(sampler) == batches[2:]
    True

    The images of a class c (n_c of them) are shuffled and cut into m_c = ceil(n_c / K) chunks, and a batch joins chunks
    of P distinct classes. Each batch takes the P classes with the most chunks left, ties drawn at random, which needs
    the fewest batches possible: with T = sum_c m_c,

        len(sampler) = max(ceil(T / P), max_c m_c).

    What does not divide evenly: the last chunk of a class is filled up with other images of the class; a class of fewer
    than K images gives all it has, never an image twice (a copy has similarity 1 and teaches nothing), so that such a
    batch is smaller than P x K; where fewer than P classes have chunks left (one class far larger than the rest), the
    batch is completed with K random images of random other classes.

    labels: the class of each image, (n,) integers: array, tensor or sequence.
    num_classes_per_batch: P, at least 2 (else there are no negatives), at most the number of classes.
    samples_per_class: K, at least 2 (else there are no positives).
    seed: with the epoch decides the order.
    categories: the category of each image, (n,) integers, one for all images of a class. A batch then has its P classes
        from `num_categories` categories, P / num_categories each, as far as these have so many (`circlet.sampling.
        categories`): negatives are of the same kind. It is filled up from others where they have fewer. Still every
        image is in every epoch, which has more batches.
    num_categories: 1 or more, at most P and the number of categories.
    rank, num_ranks: yield the P / num_ranks whole classes of this rank in each batch.

    Raises ValueError: P or K out of range, P no multiple of num_ranks, no class with two images, or a class of two
        categories.
    """

    def __init__(
        self,
        labels: npt.ArrayLike | torch.Tensor,
        num_classes_per_batch: int,
        samples_per_class: int,
        *,
        categories: npt.ArrayLike | torch.Tensor | None = None,
        num_categories: int = 1,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(seed, rank, num_ranks)
        self.num_classes_per_batch = whole("num_classes_per_batch", num_classes_per_batch, minimum=2)
        self.samples_per_class = whole("samples_per_class", samples_per_class, minimum=2)
        _, self._class_of, sizes = np.unique(_integers("labels", labels), return_inverse=True, return_counts=True)
        if len(sizes) < self.num_classes_per_batch:
            raise ValueError(
                f"num_classes_per_batch: found {num_classes_per_batch}, expected at most {len(sizes)}, "
                "the number of classes in labels"
            )
        if self.num_classes_per_batch % num_ranks:
            raise ValueError(f"num_classes_per_batch: found {num_classes_per_batch} over {num_ranks} ranks, expected a "
                             "multiple of the number of ranks: a class stays on one rank")  # fmt: skip
        if sizes.max() < 2:
            raise ValueError(f"labels: found {len(sizes)} classes of one image each, expected some with two or more")
        self._ends: list[int] = np.cumsum(sizes).tolist()
        self._starts = [0, *self._ends[:-1]]
        self._num_chunks: list[int] = (-(-sizes // self.samples_per_class)).tolist()
        self.num_categories = whole("num_categories", num_categories, minimum=1)
        self._category_of = None if categories is None else self._categories(_integers("categories", categories))
        if self._category_of is None and num_categories > 1:
            raise ValueError(f"num_categories: found {num_categories} without categories, expected both or neither")
        # How many batches there are does not depend on the order.
        self._num_batches = sum(1 for _ in self._classes(random.Random(0)))

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._num_batches

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self._class_of))
        order = order[np.argsort(self._class_of[order], kind="stable")]  # class c at [starts[c], ends[c]), shuffled
        rng = random.Random(f"{self.seed} {epoch}")  # a string seed is hashed: no two (seed, epoch) run in parallel
        for classes in self._classes(rng):
            chunks = [self._chunk(c, chunk, rng) for c, chunk in classes]
            while len(classes) < self.num_classes_per_batch:  # fewer than P classes have a chunk left
                c = rng.randrange(len(self._num_chunks))
                if all(c != taken for taken, _ in classes):
                    classes.append((c, DRAWN))
                    chunks.append(self._chunk(c, DRAWN, rng))
            own = self.num_classes_per_batch // self.num_ranks
            places = list(chain.from_iterable(chunks[self.rank * own : (self.rank + 1) * own]))
            yield order[places].tolist()

    def _classes(self, rng: random.Random) -> Iterator[list[tuple[int, int]]]:
        """The (class, chunk number) of each batch."""
        if self._category_of is None:
            return most_left_first(self._num_chunks, self.num_classes_per_batch, rng)
        return by_category(self._num_chunks, self._category_of, self.num_classes_per_batch, self.num_categories, rng)

    def _categories(self, categories: npt.NDArray[np.integer]) -> list[int]:
        """The category of each class, numbered from 0."""
        if categories.shape != self._class_of.shape:
            raise ValueError(f"categories: found shape {categories.shape}, expected that of labels, "
                             f"{self._class_of.shape}")  # fmt: skip
        names, numbers = np.unique(categories, return_inverse=True)
        category_of = np.empty(len(self._num_chunks), dtype=np.int64)
        category_of[self._class_of] = numbers
        other = np.flatnonzero(category_of[self._class_of] != numbers)
        if other.size:
            raise ValueError(f"categories: found two for the class of image {other[0]}, expected one for each class")
        most = min(len(names), self.num_classes_per_batch)
        if self.num_categories > most:
            raise ValueError(f"num_categories: found {self.num_categories} for {len(names)} categories and "
                             f"{self.num_classes_per_batch} classes a batch, expected at most {most}")  # fmt: skip
        return category_of.tolist()

    def _chunk(self, c: int, chunk: int, rng: random.Random) -> list[int]:
        """Places of chunk number `chunk` of class c, the last one filled with earlier images; DRAWN: of any."""
        if chunk == DRAWN:
            return draw(range(self._starts[c], self._ends[c]), self.samples_per_class, rng)
        start = self._starts[c] + chunk * self.samples_per_class
        places = list(range(start, min(start + self.samples_per_class, self._ends[c])))
        return places + draw(range(self._starts[c], start), self.samples_per_class - len(places), rng)


def _integers(name: str, values: npt.ArrayLike | torch.Tensor) -> npt.NDArray[np.integer]:
    array = values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: found shape {array.shape}, expected (n,) with n >= 1")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}: found dtype {array.dtype}, expected integers")
    return array
