"""Training batches: which images, in which order, and from where their pixels come.

The order depends on the seed and the epoch alone, so a resumed run goes on with the batches it would have had.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Sampler

from circlet.data.ahead import num_cores
from circlet.data.pixels import Pixels
from circlet.data.worker_batches import WorkerBatches
from circlet.distributed.collectives import num_ranks, rank_in
from circlet.sampling import PKSampler, ShuffledBatches


@dataclass(frozen=True)
class BatchConfig:
    """What a batch is made of; over several ranks, that of all ranks together."""

    sampler: Literal["pk", "shuffle"] = "pk"
    """pk: `classes` classes x `samples` images, which pair-wise labels need; shuffle: as they come."""
    classes: int = 64
    """P, classes in a batch."""
    samples: int = 4
    """K, images of each class in a batch."""
    by_category: bool = False
    """All classes of a batch from one category (column category of a manifest): the harder negatives."""
    buffer: int = 10_000
    """Shards: images that the stream has come to, and that wait to be put into a batch (as numbers, without pixels).
    More mix better, and let more classes have all their `samples`."""
    open_shards: int = 16
    """Shards: how many are read in turns. Those sorted by class want as many as `classes`."""

    def __post_init__(self) -> None:
        for name in ("buffer", "open_shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"batch.{name}: found {getattr(self, name)}, expected at least 1")
        if self.classes < 2 or self.samples < 1:
            raise ValueError(f"batch: found {self.classes} classes x {self.samples} samples, expected at least 2 x 1")


class TrainBatches:
    """Training batches of (images, labels), in an order that depends on the seed and the epoch alone.

    Over several ranks: this rank's part of each batch. faster: what would make them come faster, in words.
    classes_per_class: with 8, every image stands for eight: item 8 i + w is image i as class 8 label + w, to be turned
        in way w (`circlet.augment`, dihedral classes).
    """

    def __init__(self, pixels: Pixels, config: BatchConfig, *, classes_per_class: int = 1, seed: int) -> None:
        self.pixels = pixels
        self.multiple = classes_per_class
        ways = torch.arange(classes_per_class)
        self.labels = (classes_per_class * torch.from_numpy(pixels.images.labels)[:, None] + ways).flatten()
        self.num_classes = classes_per_class * pixels.images.num_classes
        if self.num_classes < 2:
            raise ValueError(f"data: found {self.num_classes} training class, expected at least 2 beside those held "
                             "out for testing and validation")  # fmt: skip
        categories = pixels.images.categories if config.by_category else None
        if config.by_category and categories is None:
            raise ValueError("batch.by_category: found with images without categories, expected a manifest with the "
                             "column category")  # fmt: skip
        of_items = None if categories is None else torch.from_numpy(categories).repeat_interleave(classes_per_class)
        self.sampler = batch_sampler(self.labels, self.num_classes, config, seed, categories=of_items)
        self.loader = None
        self.faster = faster_decoding(pixels)
        if pixels.memory is None:
            assert pixels.dataset is not None
            rows = _Rows(self.sampler, classes_per_class)
            self.loader = WorkerBatches(pixels.dataset, pixels.workers, stay=True, batch_sampler=rows)

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int, start_batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch, from `start_batch` on."""
        self.sampler.set_epoch(epoch, start_batch)  # for the loader
        batches = (torch.tensor(items) for items in self.sampler.batches(epoch, start_batch))
        if self.loader is None:
            assert self.pixels.memory is not None
            for items in batches:
                yield self.pixels.memory[items // self.multiple], self.labels[items]
        else:
            for items, images in zip(batches, self.loader, strict=True):
                yield images, self.labels[items]


def faster_decoding(pixels: Pixels, *, may_keep: bool = True) -> str:
    """What would make batches of these images come faster, in words.

    More workers than the process may use cores make nothing faster. may_keep: --data.in-memory would keep them decoded.
    """
    if pixels.memory is not None:
        return "smaller images"
    cores = num_cores()
    first = "more cores" if pixels.workers >= cores else f"--data.workers {min(2 * pixels.workers or 1, cores)}"
    kept = ", or --data.in-memory where they fit" if may_keep else ""
    return f"{first} (found {pixels.workers} workers on {cores} cores), originals that are no larger than need be{kept}"


def batch_sampler(
    labels: Tensor, num_classes: int, config: BatchConfig, seed: int, *, categories: Tensor | None = None
) -> PKSampler | ShuffledBatches:
    """Batches of items, the share of this rank; none asks for more classes or images than there are."""
    rank, ranks = rank_in(None), num_ranks(None)
    if config.sampler == "pk":
        most = max(num_classes // ranks, 1) * ranks  # a class stays on one rank
        classes = min(config.classes, most)
        return PKSampler(labels, classes, config.samples, categories=categories, seed=seed, rank=rank, num_ranks=ranks)
    batch_size = min(config.classes * config.samples, len(labels))
    return ShuffledBatches(len(labels), batch_size, seed=seed, rank=rank, num_ranks=ranks)


class _Rows(Sampler[list[int]]):
    """The images behind the items of a batch sampler."""

    def __init__(self, sampler: PKSampler | ShuffledBatches, multiple: int) -> None:
        self.sampler, self.multiple = sampler, multiple

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        for items in self.sampler:
            yield [item // self.multiple for item in items]
