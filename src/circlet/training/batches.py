"""Where the batches of a step come from: any object with epochs, or a DataLoader, one pass of which is an epoch."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from circlet.resources import loaded

Batch = tuple[Tensor, Tensor]
"""Images (batch, ...) and labels (batch,)."""


@runtime_checkable
class Batches(Protocol):
    """Training data: every epoch the same number of batches, in an order that depends on the epoch alone.

    Over several ranks: this rank's part of each global batch.
    """

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start_batch: int) -> Iterator[Batch]:
        """Batches (images, labels) of an epoch, from `start_batch` on."""


class LoaderBatches:
    """The batches of a DataLoader, or of any other iterable of (images, labels) that has a length: see `as_batches`.

    >>> loader = [(torch.zeros(2, 3), torch.tensor([0, 0])), (torch.ones(2, 3), torch.tensor([1, 1]))]
    >>> [labels.tolist() for _, labels in LoaderBatches(loader, seed=0).epoch(7, start_batch=1)]
    [[1, 1]]
    """

    def __init__(self, loader: Iterable[Any], seed: int) -> None:
        if isinstance(loader, Iterator) or not isinstance(loader, Iterable):
            raise ValueError(f"batches: found {type(loader).__name__}, expected something that can be iterated over "
                             "once for each epoch, such as a DataLoader or a list of (images, labels)")  # fmt: skip
        try:
            self.num_batches = len(loader)  # type: ignore[arg-type]
        except TypeError as error:
            raise ValueError(f"batches: found {type(loader).__name__} without a length, expected one with len(), which "
                             "says how many batches are an epoch") from error  # fmt: skip
        if self.num_batches < 1:
            raise ValueError("batches: found none, expected at least one in an epoch")
        self.loader, self.seed = loader, seed

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.num_batches

    def epoch(self, epoch: int, start_batch: int) -> Iterator[Batch]:
        """One pass over the loader, whose first `start_batch` batches are loaded and dropped."""
        for sampler in _samplers(self.loader):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
        self._seed_torch(epoch, 0)  # an iterator over a DataLoader draws the seed of its workers when it is made
        remaining = loaded(self.loader)
        for place in range(self.num_batches):
            self._seed_torch(epoch, place)
            try:
                images, labels = next(remaining)
            except StopIteration:
                raise ValueError(f"batches: found {place} batches in epoch {epoch}, expected {self.num_batches}, "
                                 "their len()") from None  # fmt: skip
            if place >= start_batch:
                yield images, labels

    def _seed_torch(self, epoch: int, place: int) -> None:
        torch.manual_seed(int(np.random.SeedSequence([self.seed, epoch, place]).generate_state(1)[0]))


def as_batches(batches: Batches | Iterable[Any], seed: int) -> Batches:
    """`batches` itself where it has epochs, else one whose epochs are passes over it.

    So that a run that is resumed sees the same batches, torch's global random numbers are seeded before each batch by
    (seed, epoch, place in the epoch), and a sampler's `set_epoch` is called. Hence the order of `shuffle=True`, of
    DistributedSampler and of the samplers of `circlet.sampling` is a function of (seed, epoch), as is what the data
    set draws from torch's random numbers. That does not hold for a loader with a `generator` of its own, for numpy's
    and Python's random numbers, nor for what persistent workers draw. A run resumed in the middle of an epoch skips
    forward: it loads the batches before its place and drops them.
    """
    return batches if isinstance(batches, Batches) else LoaderBatches(batches, seed)


def batches_from(batches: Batches, step: int, steps: int) -> Iterator[Batch]:
    """The batches of the steps from `step` (0-based) to `steps`, epoch after epoch."""
    while step < steps:
        epoch, start = divmod(step, len(batches))
        for batch in batches.epoch(epoch, start):
            yield batch
            step += 1
            if step == steps:
                return


def _samplers(loader: Iterable[Any]) -> list[Any]:
    batch_sampler = getattr(loader, "batch_sampler", None)
    return [getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)]
