"""From an experiment's description to its parts: splits, pixels, model, objective, batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from circlet.data import (
    DataError,
    DecodedImages,
    ImageSet,
    Splits,
    decode_all,
    find_broken,
    image_folder,
    manifest,
    open_data_set,
)
from circlet.data.catalogue import find_data_set
from circlet.distributed import num_ranks, rank_in
from circlet.models import Embedder, backbone
from circlet.recipes.experiment import BatchConfig, DataConfig, ModelConfig, Task
from circlet.recipes.loss import LossConfig, build_loss
from circlet.sampling import PKSampler, ShuffledBatches
from circlet.train import Objective


def build_splits(config: DataConfig) -> Splits:
    """The images of an experiment, in their roles."""
    own = config.source in ("folder", "manifest")
    if config.root is None and (own or find_data_set(config.source).needs_path):
        raise ValueError(f"data.root: found none, expected the path of the {config.source} (--data.root PATH)")
    if own:
        assert config.root is not None
        if config.source == "folder":
            return image_folder(config.root, held_out=config.test_share, seed=config.seed)
        return manifest(config.root, root=config.images, held_out=config.test_share, seed=config.seed)
    options: dict[str, float] = {}
    if config.source == "glyphs" or config.source.startswith("vehicleid"):
        options = {"seed": config.seed}
    elif find_data_set(config.source).task == "face training":
        options = {"seed": config.seed, "held_out": config.test_share}
    return open_data_set(config.source, config.root, **options)


def check_task(task: Task, splits: Splits) -> None:
    """DataError where the data cannot be tested by that task, so that it is found before the training."""
    tested = (splits.query, splits.query if splits.gallery is None else splits.gallery)
    if task == "reid" and any(images.cameras is None for images in tested):
        raise DataError("task reid: found images without cameras, expected a camera for each")


def build_model(config: ModelConfig, channels: int) -> Embedder:
    """Backbone, pooling and head."""
    return Embedder(
        backbone(
            config.backbone,
            channels=channels,
            pretrained=config.pretrained,
            weights=config.weights,
            dropout=config.dropout,
        ),
        config.embedding_dim,
        image_size=config.size,
        channels=channels,
        pooling=config.pooling,
        head=config.head,
        dropout=config.dropout,
        mean=config.mean,
        std=config.std,
    )


def build_objective(config: LossConfig, num_classes: int, embedding_dim: int, device: torch.device) -> Objective:
    """The loss at its level, with class weights where it needs them, and memory."""
    return Objective(
        build_loss(config),
        config.level,
        num_classes,
        embedding_dim,
        memory=config.memory,
        sample=config.sample,
        centers=config.centers,
        device=device if num_ranks(None) > 1 else None,
    )


@dataclass(frozen=True)
class Pixels:
    """The images of a set, decoded once into memory, or decoded by workers as they are asked for."""

    images: ImageSet
    memory: Tensor | None
    dataset: DecodedImages
    workers: int

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """All images in order: uint8 (batch, channels, height, width)."""
        if self.memory is not None:
            yield from self.memory.split(batch_size)
            return
        loader = DataLoader(
            self.dataset, batch_size, num_workers=self.workers, generator=torch.Generator(), pin_memory=_pin()
        )
        for images, _, _ in loader:
            yield images


def load_pixels(images: ImageSet, config: DataConfig) -> tuple[Pixels, list[tuple[str, str]]]:
    """Make a set's pixels ready; with on_error "skip", without the broken images, which are listed with reasons."""
    broken: list[tuple[str, str]] = []
    memory = None
    if config.in_memory:
        decoded = decode_all(
            images, size=config.size, channels=config.channels, fit=config.fit, on_error=config.on_error
        )
        memory, broken = decoded.images, decoded.broken
        images = images.subset(decoded.kept)
    elif config.on_error == "skip":
        broken = find_broken(images, num_workers=config.workers)
        bad = {name for name, _ in broken}
        images = images.subset([i for i, name in enumerate(images.names) if name not in bad])
    dataset = DecodedImages(images, size=config.size, channels=config.channels, fit=config.fit)
    return Pixels(images, memory, dataset, config.workers), broken


class TrainBatches:
    """Training batches of (images, labels), in an order that depends on the seed and the epoch alone.

    Over several ranks: this rank's part of each batch.
    views: with 8, every image stands for eight: item 8 i + w is image i as class 8 label + w, to be turned in way w.
    """

    def __init__(self, pixels: Pixels, config: BatchConfig, *, views: int, seed: int) -> None:
        self.pixels = pixels
        self.views = views
        self.labels = (views * torch.from_numpy(pixels.images.labels)[:, None] + torch.arange(views)).flatten()
        self.num_classes = views * pixels.images.num_classes
        if self.num_classes < 2:
            raise ValueError(f"data: found {self.num_classes} training class, expected at least 2 beside those held "
                             "out for testing and validation")  # fmt: skip
        rank, ranks = rank_in(None), num_ranks(None)
        if config.sampler == "pk":
            most = max(self.num_classes // ranks, 1) * ranks  # a class stays on one rank
            per_batch = min(config.classes, most)
            self.sampler: PKSampler | ShuffledBatches = PKSampler(
                self.labels, per_batch, config.samples, seed=seed, rank=rank, num_ranks=ranks
            )
        else:
            batch_size = min(config.classes * config.samples, len(self.labels))
            self.sampler = ShuffledBatches(len(self.labels), batch_size, seed=seed, rank=rank, num_ranks=ranks)
        self.loader = None
        if pixels.memory is None:
            self.loader = DataLoader(
                pixels.dataset,
                batch_sampler=_Rows(self.sampler, views),
                num_workers=pixels.workers,
                persistent_workers=pixels.workers > 0,
                pin_memory=_pin(),
                generator=torch.Generator(),  # or it would draw from the global one, out of step with a resumed run
            )

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int, start_batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch, from `start_batch` on."""
        self.sampler.set_epoch(epoch, start_batch)  # for the loader
        batches = (torch.tensor(items) for items in self.sampler.batches(epoch, start_batch))
        if self.loader is None:
            assert self.pixels.memory is not None
            for items in batches:
                yield self.pixels.memory[items // self.views], self.labels[items]
        else:
            for items, (images, _, _) in zip(batches, self.loader, strict=True):
                yield images, self.labels[items]


class _Rows(Sampler[list[int]]):
    """The images behind the items of a batch sampler."""

    def __init__(self, sampler: PKSampler | ShuffledBatches, views: int) -> None:
        self.sampler, self.views = sampler, views

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        for items in self.sampler:
            yield [item // self.views for item in items]


def _pin() -> bool:
    return torch.cuda.is_available()
