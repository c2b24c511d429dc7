"""Batches as a function of (seed, epoch) alone, and from where the next pass goes on."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[int]]):
    """Batches as a pure function of (seed, epoch); subclasses give `__len__` and `_batches`.

    epoch, start_batch: what the next pass yields.
    """

    def __init__(self, seed: int, rank: int, num_ranks: int) -> None:
        self.seed = whole("seed", seed, minimum=0)
        self.num_ranks = whole("num_ranks", num_ranks, minimum=1)
        self.rank = whole("rank", rank, minimum=0)
        if rank >= num_ranks:
            raise ValueError(f"rank: found {rank}, expected 0 to {num_ranks - 1}")
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch of the next pass, and leave out its first `start_batch` batches (to resume mid-epoch).

        The pass after it is all of epoch + 1, and so on. Without this call the first pass is epoch 0. `len()` stays
        that of a whole epoch.
        """
        self.epoch = whole("epoch", epoch, minimum=0)
        self.start_batch = whole("start_batch", start_batch, minimum=0)

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


def whole(name: str, value: int, *, minimum: int) -> int:
    """The value as an int; a ValueError that names the argument unless it is an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name}: found {value!r}, expected an integer of at least {minimum}")
    return int(value)
