"""The test images of an experiment, and their embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from circlet.data import ImageSet, Splits
from circlet.data.augment import plain_view
from circlet.models import Embedder, embed
from circlet.progress import progress
from circlet.recipes.build import Pixels, load_pixels
from circlet.recipes.experiment import DataConfig, Experiment
from circlet.recipes.testing import TestConfig

TEST_BATCH_SIZE = 256
MAX_RAW_SIDE, RAW_SIDE = 64, 32


@dataclass(frozen=True)
class TestSet:
    """Query and gallery pixels of unseen classes; gallery None: every query searches all the other queries."""

    query: Pixels
    gallery: Pixels | None
    query_labels: Tensor
    gallery_labels: Tensor | None


class Embedded(NamedTuple):
    """Embeddings (N, dim) of the query and the gallery images."""

    query: Tensor
    gallery: Tensor | None


def load_test_set(splits: Splits, config: DataConfig, skipped: list[tuple[str, str]]) -> TestSet:
    """The query and gallery images of a data set, ready to embed; broken ones are added to `skipped`."""
    query = load_images(splits.query, config, skipped)
    if splits.gallery is None:
        return TestSet(query, None, torch.from_numpy(query.images.labels), None)
    gallery = load_images(splits.gallery, config, skipped)
    kept = replace(splits, query=query.images, gallery=gallery.images)
    query_labels, gallery_labels = (torch.from_numpy(labels) for labels in kept.matching_labels())
    return TestSet(query, gallery, query_labels, gallery_labels)


def load_images(images: ImageSet, config: DataConfig, skipped: list[tuple[str, str]]) -> Pixels:
    """Make a set's pixels ready; broken images are added to `skipped`."""
    pixels, broken = load_pixels(images, config)
    skipped.extend(broken)
    return pixels


def embed_test_set(model: nn.Module, test_set: TestSet, experiment: Experiment, device: torch.device) -> Embedded:
    """Embeddings of the query and the gallery images."""
    gallery = None if test_set.gallery is None else embed_pixels(model, test_set.gallery, experiment, device)
    return Embedded(embed_pixels(model, test_set.query, experiment, device), gallery)


def embed_raw_pixels(model: Embedder, test_set: TestSet, experiment: Experiment, device: torch.device) -> Embedded:
    """The normalised pixels of plain views as embeddings: what any training must beat."""
    return embed_test_set(_RawPixels(model), test_set, replace(experiment, test=TestConfig()), device)


def embed_pixels(
    model: nn.Module,
    pixels: Pixels,
    experiment: Experiment,
    device: torch.device,
    *,
    normalize: bool = True,
    file: Path | None = None,
) -> Tensor:
    """Embeddings (N, dim), on the CPU, of all images of a set, in the views that `experiment.test` asks for.

    normalize, file: in unit length, and written into a file, as `circlet.models.embed`.
    """
    size, view, test = experiment.model.size, experiment.model.view, experiment.test
    if test.crop:
        size, view = experiment.data.size, 1.0  # the crops are made of the whole decoded image

    def views() -> Iterator[Tensor]:
        with progress("embed", -(-len(pixels.images) // TEST_BATCH_SIZE)) as shown:
            for images in pixels.batches(TEST_BATCH_SIZE):
                yield plain_view(images.to(device), size, view)
                shown.advance()

    crop = experiment.model.size if test.crop else None
    return embed(
        model,
        views(),
        device=device,
        normalize=normalize,
        flip=test.flip,
        crop=crop,
        num_images=len(pixels.images),
        file=file,
    )


class _RawPixels(nn.Module):
    """The normalised pixels themselves; of large images, means over a grid of 32 x 32, for the memory's sake."""

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.model.normalized(images)
        if max(pixels.shape[2:]) > MAX_RAW_SIDE:
            pixels = nn.functional.adaptive_avg_pool2d(pixels, RAW_SIDE)
        return pixels.flatten(1)
