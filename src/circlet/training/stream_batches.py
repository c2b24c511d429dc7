"""Training batches out of shards: which images, from a stream, and their pixels, from loader workers.

The batches depend on the seed, the epoch and the shards alone (`circlet.sampling.stream`): not on how many ranks and
workers there are, each of which decodes its own images. So a run that is resumed, with more or fewer of them, goes on
with the batches that it would have had; it works out again what it has had of its epoch, without an image being read.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from circlet.data.pixels import Pixels
from circlet.data.streams import StreamSet
from circlet.data.streams.positions import DecodedPositions
from circlet.data.worker_batches import WorkerBatches
from circlet.distributed.collectives import num_ranks, rank_in
from circlet.sampling import PKStream, ShuffledStream
from circlet.training.image_batches import BatchConfig, TrainBatches, faster_decoding


def train_batches(
    pixels: Pixels, config: BatchConfig, *, classes_per_class: int = 1, seed: int
) -> "TrainBatches | StreamBatches":
    """The batches of images that are listed, or of shards that are read from their beginnings."""
    images = pixels.images
    if not isinstance(images, StreamSet) or pixels.memory is not None:
        return TrainBatches(pixels, config, classes_per_class=classes_per_class, seed=seed)
    if classes_per_class > 1:
        raise ValueError("augment.dihedral_classes: found with shards, expected off (--augment.no-dihedral-classes): "
                         "each image is read once an epoch")  # fmt: skip
    return StreamBatches(pixels, images, config, seed=seed)


class StreamBatches:
    """Training batches of (images, labels) out of shards; over several ranks, this rank's part of each.

    faster: what would make them come faster, in words.
    """

    def __init__(self, pixels: Pixels, images: StreamSet, config: BatchConfig, *, seed: int) -> None:
        assert pixels.dataset is not None
        self.num_classes = images.num_classes
        if self.num_classes < 2:
            raise ValueError(f"data: found {self.num_classes} training class, expected at least 2 beside those held "
                             "out for testing and validation")  # fmt: skip
        if config.by_category:
            raise ValueError("batch.by_category: found with shards, expected a manifest with the column category")
        self.faster = faster_decoding(pixels)
        self.sampler = stream_sampler(images, config, seed)
        self.keys = _Positions(self.sampler)
        dataset = DecodedPositions(images.collection, pixels.dataset)
        self.loader = WorkerBatches(dataset, pixels.workers, stay=True, batch_sampler=self.keys)

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int, start_batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch, from `start_batch` on."""
        self.sampler.set_epoch(epoch, start_batch)
        for images in self.loader:
            yield images, torch.tensor(self.keys.labels.popleft())


def stream_sampler(images: StreamSet, config: BatchConfig, seed: int) -> PKStream | ShuffledStream:
    """Batches of positions, the share of this rank; none asks for more classes or images than there are."""
    rank, ranks = rank_in(None), num_ranks(None)
    sizes = images.collection.sizes.tolist()
    if config.sampler == "pk":
        most = max(images.num_classes // ranks, 1) * ranks  # a class stays on one rank
        classes = min(config.classes, most)
        return PKStream(
            sizes,
            images.shard_labels,
            images.class_sizes,
            classes,
            config.samples,
            buffer=config.buffer,
            open_shards=config.open_shards,
            seed=seed,
            rank=rank,
            num_ranks=ranks,
        )
    return ShuffledStream(
        sizes,
        images.shard_labels,
        len(images),
        min(config.classes * config.samples, len(images)),
        buffer=config.buffer,
        open_shards=config.open_shards,
        seed=seed,
        rank=rank,
        num_ranks=ranks,
    )


class _Positions(Sampler[list[int]]):
    """The positions of each batch for the loader, which is ahead; the labels wait here until their pixels come."""

    def __init__(self, sampler: PKStream | ShuffledStream) -> None:
        self.sampler, self.labels = sampler, deque[list[int]]()

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        self.labels.clear()
        for positions, labels in self.sampler.labelled(self.sampler.epoch, self.sampler.start_batch):
            self.labels.append(labels)
            yield positions
