"""Batch samplers: which images meet in a batch.

A pair-wise loss sees only the pairs inside its batch, so a batch must hold several images of several classes
(`PKSampler`); a class-level loss needs nothing but shuffling (`ShuffledBatches`). Both are given to a DataLoader as
`batch_sampler`. Each pass over one is an epoch, in an order of its own that is a function of (seed, epoch) alone, so
that a run can stop anywhere and be resumed there with `set_epoch`.

Over several ranks, each of which has a sampler, all draw the same global batches and yield their own rank's part: P and
`batch_size` count the classes and images of all ranks together. The ranks stay in step as long as each begins the same
number of passes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

__all__ = ["PKSampler", "ShuffledBatches"]


class _EpochBatches(Sampler[list[int]]):
    """Batches as a pure function of (seed, epoch); subclasses give `__len__` and `_batches`.

    epoch, start_batch: what the next pass yields.
    """

    def __init__(self, seed: int, rank: int, num_ranks: int) -> None:
        self.seed = _whole("seed", seed, minimum=0)
        self.num_ranks = _whole("num_ranks", num_ranks, minimum=1)
        self.rank = _whole("rank", rank, minimum=0)
        if rank >= num_ranks:
            raise ValueError(f"rank: found {rank}, expected 0 to {num_ranks - 1}")
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch of the next pass, and leave out its first `start_batch` batches (to resume mid-epoch).

        The pass after it is all of epoch + 1, and so on. Without this call the first pass is epoch 0. `len()` stays
        that of a whole epoch.
        """
        self.epoch = _whole("epoch", epoch, minimum=0)
        self.start_batch = _whole("start_batch", start_batch, minimum=0)

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[list[int]]:
        """The batches of an epoch from `start_batch` on, whatever the next pass is, which stays as it is."""
        return islice(self._batches(epoch), start_batch, None)

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, so that a pass begins with its first batch: a DataLoader with workers makes two iterators for
        # its first epoch, and takes batches from one of them.
        epoch, start_batch = self.epoch, self.start_batch
        self.epoch, self.start_batch = epoch + 1, 0
        yield from self.batches(epoch, start_batch)

    def __len__(self) -> int:
        raise NotImplementedError

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        raise NotImplementedError


class PKSampler(_EpochBatches):
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
    rank, num_ranks: yield the P / num_ranks whole classes of this rank in each batch.

    Raises ValueError: P or K out of range, P no multiple of num_ranks, or no class with two images.
    """

    def __init__(
        self,
        labels: npt.ArrayLike | torch.Tensor,
        num_classes_per_batch: int,
        samples_per_class: int,
        *,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(seed, rank, num_ranks)
        self.num_classes_per_batch = _whole("num_classes_per_batch", num_classes_per_batch, minimum=2)
        self.samples_per_class = _whole("samples_per_class", samples_per_class, minimum=2)
        _, self._class_of, sizes = np.unique(_label_array(labels), return_inverse=True, return_counts=True)
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
        self._num_batches: int = max(-(-sum(self._num_chunks) // self.num_classes_per_batch), max(self._num_chunks))

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._num_batches

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self._class_of))
        order = order[np.argsort(self._class_of[order], kind="stable")]  # class c at [starts[c], ends[c]), shuffled
        rng = random.Random(f"{self.seed} {epoch}")  # a string seed is hashed: no two (seed, epoch) run in parallel
        for classes in _most_left_first(self._num_chunks, self.num_classes_per_batch, rng):
            chunks = [self._chunk(c, chunk, rng) for c, chunk in classes]
            while len(classes) < self.num_classes_per_batch:  # fewer than P classes have a chunk left
                c = rng.randrange(len(self._num_chunks))
                if all(c != taken for taken, _ in classes):
                    classes.append((c, -1))
                    chunks.append(_draw(range(self._starts[c], self._ends[c]), self.samples_per_class, rng))
            own = self.num_classes_per_batch // self.num_ranks
            places = list(chain.from_iterable(chunks[self.rank * own : (self.rank + 1) * own]))
            yield order[places].tolist()

    def _chunk(self, c: int, chunk: int, rng: random.Random) -> list[int]:
        """Places of chunk number `chunk` of class c, the last one filled with earlier images of the class."""
        start = self._starts[c] + chunk * self.samples_per_class
        places = list(range(start, min(start + self.samples_per_class, self._ends[c])))
        return places + _draw(range(self._starts[c], start), self.samples_per_class - len(places), rng)


class ShuffledBatches(_EpochBatches):
    """Shuffled batches over `num_samples` images, each image once an epoch.

    >>> sampler = ShuffledBatches(9, batch_size=4)
    >>> [len(batch) for batch in sampler], len(sampler)
    ([4, 5], 2)
    >>> sorted(sum(sampler, []))
    [0, 1, 2, 3, 4, 5, 6, 7, 8]

    The last batch is smaller where the numbers do not divide, and left out under `drop_last`. A last batch of *one*
    image joins the batch before it, which then holds `batch_size + 1`: on a single image BatchNorm raises and a
    pair-wise loss has no pairs. (A data set of one image, or `batch_size` 1, stays as asked.)

    rank, num_ranks: yield this rank's part of each batch, as even as possible. A last batch of fewer than two images
    a rank then joins the batch before it; nothing else depends on the number of ranks.

    Raises ValueError: `num_samples` or `batch_size` below 1, or over several ranks below two images a rank.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(seed, rank, num_ranks)
        self.num_samples = _whole("num_samples", num_samples, minimum=1)
        self.batch_size = _whole("batch_size", batch_size, minimum=1)
        self.drop_last = drop_last
        fewest = 2 * num_ranks  # in a batch, so that no rank has a single image
        for name, value in (("num_samples", self.num_samples), ("batch_size", self.batch_size)):
            if num_ranks > 1 and value < fewest:
                raise ValueError(f"{name}: found {value} over {num_ranks} ranks, expected at least {fewest}")
        full, rest = divmod(self.num_samples, self.batch_size)
        self._joins = 0 < rest < fewest and full > 0 and not drop_last
        self._num_batches = full if drop_last or rest == 0 or self._joins else full + 1

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._num_batches

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
        for batch in range(self._num_batches):
            start = batch * self.batch_size
            joined = self._joins and batch == self._num_batches - 1
            whole = order[start:] if joined else order[start : start + self.batch_size]
            yield np.array_split(whole, self.num_ranks)[self.rank].tolist()


def _most_left_first(num_chunks: Sequence[int], per_batch: int, rng: random.Random) -> Iterator[list[tuple[int, int]]]:
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
                taken.append((_pop_random(waiting[left], rng), left))
            left -= 1
        for c, left in taken:
            waiting[left - 1].append(c)
        while most and not waiting[most]:
            most -= 1
        yield [(c, num_chunks[c] - left) for c, left in taken]


def _pop_random(items: list[int], rng: random.Random) -> int:
    i = rng.randrange(len(items))
    items[i], items[-1] = items[-1], items[i]
    return items.pop()


def _draw(places: range, count: int, rng: random.Random) -> list[int]:
    """Up to `count` distinct places."""
    return rng.sample(places, min(count, len(places)))


def _label_array(labels: npt.ArrayLike | torch.Tensor) -> npt.NDArray[np.integer]:
    array = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"labels: found shape {array.shape}, expected (n,) with n >= 1")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels: found dtype {array.dtype}, expected integers")
    return array


def _whole(name: str, value: int, *, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name}: found {value!r}, expected an integer of at least {minimum}")
    return int(value)
