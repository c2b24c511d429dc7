"""Batches out of shards that are read from their beginnings: no image is asked for before the stream has come to it.

A few shards, in an order drawn for each epoch, are read at a time, in turns by lot; their images wait in a buffer, out
of which batches are taken (`PKStream`, `ShuffledStream`). What flows are numbers: the labels and positions of images,
from an index. So the stream is worked out in every process alike, whatever the number of ranks and loader workers, each
of which then reads the bytes of its own images alone; and to go on in the middle of an epoch, it is worked out again up
to there, without an image being read (some four seconds a million images). A function of (seed, epoch) as those of all
samplers here, it has no state.

How `PKStream` differs from `PKSampler`, which may take any image at any time:

- Guaranteed alike: every batch has exactly P distinct classes, K images of each at most, no image twice; and an epoch
  has as many batches as there are chunks of P x K, ceil(sum_c ceil(n_c / K) / P).
- A class of which fewer than K images wait, while none has K, gives fewer. Of shards that are shuffled, at K = 4, with
  five images of each class in the buffer on average an epoch is as that of the exact sampler. With one or a little
  more, a class gives two or three, and an epoch, of the same number of batches, meets four images of five; with a
  quarter, half of the images are alone. So the buffer wants to be five times the number of classes, or shards to hold
  the images of a class side by side. benchmarks/results/streams.md has the measurements.
- The last images of a class are not filled up with earlier ones to K, which have flowed past, but dealt evenly.
- Of a class that flows in faster than batches take it (one far larger than the rest, or shards of few classes each) no
  more than a P-th of the buffer waits, and the surplus is passed over. The epoch then goes through the shards again, so
  that some images come twice and others not at all: of sorted shards, of ten classes each, with 16 open, half of them.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from circlet.sampling.chunks import pop_random
from circlet.sampling.epochs import EpochBatches, whole
from circlet.sampling.waiting import Waiting

Labels = Callable[[int], npt.NDArray[np.integer]]
"""From the number of a shard to the labels of its images in order; below 0: not of the set."""

Batch = tuple[list[int], list[int]]
"""Positions and labels of a batch."""


class _Stream(EpochBatches):
    """What both have in common: reading shards in turns."""

    def __init__(
        self,
        sizes: Sequence[int],
        labels: Labels,
        *,
        buffer: int,
        open_shards: int,
        seed: int,
        rank: int,
        num_ranks: int,
    ) -> None:
        super().__init__(seed, rank, num_ranks)
        self._num_batches = 0  # which who is made of this knows
        self.sizes = [int(size) for size in sizes]
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)]).tolist()
        self.labels = labels
        self.buffer = whole("buffer", buffer, minimum=2)
        self.open_shards = whole("open_shards", open_shards, minimum=1)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return self._num_batches

    def labelled(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Each batch of an epoch, this rank's part of it, with the labels."""
        return islice(self._labelled(epoch), start_batch, None)

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        return (positions for positions, _ in self._labelled(epoch))

    def _labelled(self, epoch: int) -> Iterator[Batch]:
        raise NotImplementedError

    def _flow(self, epoch: int, number: int, rng: random.Random) -> Iterator[tuple[int, int]]:
        """(position, label) of every image once, in pass `number` of an epoch."""
        order = iter(np.random.default_rng([self.seed, epoch, number]).permutation(len(self.sizes)).tolist())
        opened = [self._opened(shard) for shard in islice(order, self.open_shards)]
        while opened:
            place = int(rng.random() * len(opened))
            image = next(opened[place], None)
            if image is not None:
                yield image
                continue
            following = next(order, None)
            if following is not None:
                opened[place] = self._opened(following)
            else:
                opened[place] = opened[-1]
                opened.pop()

    def _opened(self, shard: int) -> Iterator[tuple[int, int]]:
        start = self.starts[shard]
        for row, label in enumerate(self.labels(shard).tolist()):
            if label >= 0:
                yield start + row, label


class PKStream(_Stream):
    r"""Batches of P classes with up to K images each, out of shards read from their beginnings.

    >>> shards = [np.arange(600) % 20, np.arange(600) % 30]
    >>> sampler = PKStream([600, 600], shards.__getitem__, [50] * 20 + [20] * 10, 8, 4, buffer=256, open_shards=2)
    >>> positions, labels = next(sampler.labelled(epoch=0))
    >>> len(positions), len(set(positions)), len(set(labels))
    (32, 32, 8)
    >>> list(sampler.batches(3, start_batch=30)) == list(sampler.batches(3))[30:]
    True

    sizes: images in each shard. labels: of a shard, see `Labels`. class_sizes: (C,) images of each class in all shards.
    num_classes_per_batch, samples_per_class: P and K, as of `PKSampler`. buffer: images that wait, at least 2 P K.
    open_shards: read in turns. seed: with the epoch decides the order. rank, num_ranks: yield the P / num_ranks whole
    classes of this rank in each batch.

    Raises ValueError: P or K out of range, P no multiple of num_ranks, a buffer that is too small.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        labels: Labels,
        class_sizes: npt.ArrayLike,
        num_classes_per_batch: int,
        samples_per_class: int,
        *,
        buffer: int,
        open_shards: int,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(
            sizes, labels, buffer=buffer, open_shards=open_shards, seed=seed, rank=rank, num_ranks=num_ranks
        )
        self.num_classes_per_batch = whole("num_classes_per_batch", num_classes_per_batch, minimum=2)
        self.samples_per_class = whole("samples_per_class", samples_per_class, minimum=2)
        self.class_sizes = np.asarray(class_sizes)
        if len(self.class_sizes) < num_classes_per_batch:
            raise ValueError(f"num_classes_per_batch: found {num_classes_per_batch}, expected at most "
                             f"{len(self.class_sizes)}, the number of classes in the shards")  # fmt: skip
        if num_classes_per_batch % num_ranks:
            raise ValueError(f"num_classes_per_batch: found {num_classes_per_batch} over {num_ranks} ranks, expected a "
                             "multiple of the number of ranks: a class stays on one rank")  # fmt: skip
        least = 2 * num_classes_per_batch * samples_per_class
        if buffer < least:
            raise ValueError(f"buffer: found {buffer} images, expected at least {least}, two batches")
        chunks = int((-(-self.class_sizes // samples_per_class)).sum())
        self._num_batches = -(-chunks // num_classes_per_batch)

    def _labelled(self, epoch: int) -> Iterator[Batch]:
        own = self.num_classes_per_batch // self.num_ranks
        for chunks in islice(self._chunks(epoch), self._num_batches):
            part = chunks[self.rank * own : (self.rank + 1) * own]
            positions = [position for _, images in part for position in images]
            yield positions, [label for label, images in part for _ in images]

    def _chunks(self, epoch: int) -> Iterator[list[tuple[int, list[int]]]]:
        """(class, its images) of each batch of all ranks, without end.

        An epoch is one pass over the shards. Where batches are left when fewer than P classes wait at its end, these
        few are dropped, and another pass begins: so a batch never holds an image twice.
        """
        num_classes, rng = self.num_classes_per_batch, random.Random(f"{self.seed} {epoch}")
        waiting = Waiting(self.samples_per_class, self.buffer // num_classes)
        number = 0
        while True:
            left = self.class_sizes.tolist()
            flow: Iterator[tuple[int, int]] | None = self._flow(epoch, number, rng)
            most = self.buffer  # read before the first batch; later a few times what a batch takes
            while flow is not None or waiting.num_classes >= num_classes:
                if flow is not None and not self._fill(waiting, flow, left, most):
                    flow = None
                if waiting.num_classes >= num_classes:
                    yield waiting.take(num_classes, rng)
                most = 4 * num_classes * self.samples_per_class
            waiting.clear()
            number += 1

    def _fill(self, waiting: Waiting, flow: Iterator[tuple[int, int]], left: list[int], most: int) -> bool:
        """Read until the buffer is full, or `most` images have been read and P classes wait; False at the end."""
        while waiting.size < self.buffer and (most > 0 or waiting.num_classes < self.num_classes_per_batch):
            image = next(flow, None)
            if image is None:
                return False
            position, label = image
            waiting.add(label, position)
            most -= 1
            left[label] -= 1
            if not left[label]:
                waiting.finish(label)
        return True


class ShuffledStream(_Stream):
    """Shuffled batches out of shards read from their beginnings, each image at most once an epoch.

    >>> sampler = ShuffledStream([5, 5], lambda shard: np.zeros(5, int), 10, 4, buffer=6, open_shards=2)
    >>> [len(batch) for batch in sampler], len(sampler)
    ([4, 4], 2)

    An image is at most `buffer` images and `open_shards` shards away from where it lies. What is left behind the last
    full batch is left out in that epoch.

    num_images: of the set, in all shards. Other arguments as of `PKStream` and `ShuffledBatches`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        labels: Labels,
        num_images: int,
        batch_size: int,
        *,
        buffer: int,
        open_shards: int,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(
            sizes, labels, buffer=buffer, open_shards=open_shards, seed=seed, rank=rank, num_ranks=num_ranks
        )
        self.batch_size = whole("batch_size", batch_size, minimum=2 * num_ranks if num_ranks > 1 else 1)
        if num_images < batch_size:
            raise ValueError(f"batch_size: found {batch_size}, expected at most {num_images}, the number of images")
        self._num_batches = num_images // batch_size

    def _labelled(self, epoch: int) -> Iterator[Batch]:
        rng = random.Random(f"{self.seed} {epoch}")
        shuffled = self._shuffled(self._flow(epoch, 0, rng), rng)
        ends = [len(part) for part in np.array_split(np.arange(self.batch_size), self.num_ranks)]
        start = sum(ends[: self.rank])
        for _ in range(self._num_batches):
            batch = list(islice(shuffled, self.batch_size))
            part = batch[start : start + ends[self.rank]]
            yield [position for position, _ in part], [label for _, label in part]

    def _shuffled(self, flow: Iterator[tuple[int, int]], rng: random.Random) -> Iterator[tuple[int, int]]:
        waiting: list[tuple[int, int]] = []
        for image in flow:
            waiting.append(image)
            if len(waiting) >= self.buffer:
                yield pop_random(waiting, rng)
        while waiting:
            yield pop_random(waiting, rng)
