"""A run from start to end: data, training, evaluation on unseen classes, and what is left in the run folder."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from circlet.analyse import Telemetry, Trace
from circlet.data import ImageSet, Splits, hold_out_classes
from circlet.data.augment import Augment, plain_view
from circlet.evaluate import RetrievalMetrics, retrieval
from circlet.models import Embedder, embed
from circlet.recipes.build import Pixels, TrainBatches, build_model, build_objective, load_pixels
from circlet.recipes.experiment import DataConfig, Experiment
from circlet.train import (
    Objective,
    RunFolder,
    fit,
    is_first,
    load,
    load_module,
    progress,
    together,
    write_atomically,
)

TEST_BATCH_SIZE = 256


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


class Outcome(NamedTuple):
    """What a run found on its test classes."""

    metrics: dict[str, float]
    raw_pixels: dict[str, float]
    test_set: TestSet
    embedded: Embedded


def train(experiment: Experiment, splits: Splits, folder: RunFolder, device: torch.device) -> Outcome | None:
    """Train as described, or go on with the folder's run, then test; result.json and checkpoints are in `folder`.

    splits: the images of `build_splits(experiment.data)`. In a process group all ranks call this together; rank 0
    alone tests and writes, and the others get None.
    """
    data = together(lambda: _load_data(experiment.data, splits, folder))

    def parts() -> tuple[Embedder, TrainBatches, Objective]:
        torch.manual_seed(experiment.loop.seed)
        model = build_model(experiment.model, experiment.data.channels)
        batches = TrainBatches(data.train, experiment.batch, views=experiment.augment.views, seed=experiment.loop.seed)
        return model, batches, build_objective(experiment.loss, batches.num_classes, model.embedding_dim, device)

    model, batches, objective = together(parts)
    validate = None
    if experiment.data.validation_share:
        validate = partial(_validate, data.validation, experiment, device)
    augment = Augment(experiment.augment, experiment.model.size)
    observe = Telemetry(Trace(folder.path) if is_first() else None)
    seconds = fit(
        model,
        objective,
        batches,
        experiment.loop,
        folder,
        device=device,
        augment=augment,
        validate=validate,
        observe=observe,
    )
    if data.test is None:
        return None
    if folder.best.exists():
        load_module(model, load(folder.best)["model"], folder.best)
    outcome = test(model, data.test, experiment, device)
    folder.write_json(
        "result.json",
        {
            "checkpoint": folder.chosen.name,
            "test": outcome.metrics,
            "raw_pixels": outcome.raw_pixels,
            "train_classes": data.train.images.num_classes,
            "train_images": len(data.train.images),
            "test_classes": data.test.query.images.num_classes,
            "test_images": len(data.test.query.images),
            "train_seconds": seconds,
            "skipped_images": data.num_skipped,
        },
    )
    return outcome


def load_run(run: Path, device: torch.device, checkpoint: Path | None = None) -> tuple[Experiment, Embedder]:
    """The experiment and the trained model of a run folder: its best checkpoint if there is one, else its last."""
    folder = RunFolder.open(run)
    experiment = Experiment.from_json(folder.read_json("config.json"))
    model = build_model(replace(experiment.model, pretrained=False), experiment.data.channels)
    path = checkpoint or folder.chosen
    load_module(model, load(path)["model"], path)
    return experiment, model.to(device).eval()


def load_test_set(splits: Splits, config: DataConfig, skipped: list[tuple[str, str]]) -> TestSet:
    """The query and gallery images of a data set, ready to embed; broken ones are added to `skipped`."""
    query = _load(splits.query, config, skipped)
    if splits.gallery is None:
        return TestSet(query, None, torch.from_numpy(query.images.labels), None)
    gallery = _load(splits.gallery, config, skipped)
    kept = replace(splits, query=query.images, gallery=gallery.images)
    query_labels, gallery_labels = (torch.from_numpy(labels) for labels in kept.matching_labels())
    return TestSet(query, gallery, query_labels, gallery_labels)


def test(model: Embedder, test_set: TestSet, experiment: Experiment, device: torch.device) -> Outcome:
    """Retrieval metrics of a model on unseen classes, beside those of the raw pixels."""
    embedded = embed_test_set(model, test_set, experiment, device)
    raw = embed_test_set(_RawPixels(model), test_set, experiment, device)
    return Outcome(
        _metrics(embedded, test_set, experiment.ks), _metrics(raw, test_set, experiment.ks), test_set, embedded
    )


def embed_test_set(model: nn.Module, test_set: TestSet, experiment: Experiment, device: torch.device) -> Embedded:
    """Embeddings of the query and the gallery images."""
    gallery = None if test_set.gallery is None else embed_pixels(model, test_set.gallery, experiment, device)
    return Embedded(embed_pixels(model, test_set.query, experiment, device), gallery)


def embed_pixels(model: nn.Module, pixels: Pixels, experiment: Experiment, device: torch.device) -> Tensor:
    """Unit embeddings (N, dim), on the CPU, of the plain views of all images of a set."""

    def views() -> Iterator[Tensor]:
        with progress("embed", -(-len(pixels.images) // TEST_BATCH_SIZE)) as shown:
            for images in pixels.batches(TEST_BATCH_SIZE):
                yield plain_view(images.to(device), experiment.model.size, experiment.model.view)
                shown.advance()

    return embed(model, views(), device=device)


class _RawPixels(nn.Module):
    """The normalised pixels themselves as an embedding: what any training must beat."""

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.normalized(images).flatten(1)


def _metrics(embedded: Embedded, test_set: TestSet, ks: tuple[int, ...]) -> dict[str, float]:
    return as_dict(
        retrieval(
            embedded.query,
            test_set.query_labels,
            ks=ks,
            gallery=embedded.gallery,
            gallery_labels=test_set.gallery_labels,
        )
    )


def as_dict(metrics: RetrievalMetrics) -> dict[str, float]:
    """Retrieval metrics by their usual names."""
    recalls = {f"recall@{k}": value for k, value in metrics.recall_at_k.items()}
    return {**recalls, "r_precision": metrics.r_precision, "map@r": metrics.map_at_r, "mrr": metrics.mrr}


def _validate(
    pixels: Pixels | None, experiment: Experiment, device: torch.device, model: nn.Module
) -> dict[str, float]:
    assert pixels is not None
    labels = torch.from_numpy(pixels.images.labels)
    metrics = retrieval(embed_pixels(model, pixels, experiment, device), labels, ks=(1,))
    return {"map@r": metrics.map_at_r, "recall@1": metrics.recall_at_k[1]}


class _Data(NamedTuple):
    """What a rank needs: training images on all, the others on rank 0 alone."""

    train: Pixels
    test: TestSet | None
    validation: Pixels | None
    num_skipped: int


def _load_data(config: DataConfig, splits: Splits, folder: RunFolder) -> _Data:
    train_set, validation_set = splits.train, None
    if config.validation_share:
        train_set, validation_set = hold_out_classes(splits.train, config.validation_share)
    skipped: list[tuple[str, str]] = []
    train = _load(train_set, config, skipped)
    if not is_first():
        return _Data(train, None, None, len(skipped))
    test_set = load_test_set(splits, config, skipped)
    validation = None if validation_set is None else _load(validation_set, config, skipped)
    if skipped:
        text = "".join(f"{name}\t{reason}\n" for name, reason in skipped)
        write_atomically(folder.path / "skipped.txt", lambda file: file.write(text.encode()))
    return _Data(train, test_set, validation, len(skipped))


def _load(images: ImageSet, config: DataConfig, skipped: list[tuple[str, str]]) -> Pixels:
    pixels, broken = load_pixels(images, config)
    skipped.extend(broken)
    return pixels
