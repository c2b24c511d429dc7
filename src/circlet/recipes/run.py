"""A run from start to end: data, training, evaluation on unseen classes, and what is left in the run folder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from circlet.data import ImageSet, Splits, hold_out_classes
from circlet.data.augment import Augment, plain_view
from circlet.evaluate import RetrievalMetrics, retrieval
from circlet.models import Embedder, embed
from circlet.recipes.build import Pixels, TrainBatches, build_model, build_objective, load_pixels
from circlet.recipes.experiment import DataConfig, Experiment
from circlet.train import RunFolder, fit, load, load_module, progress, write_atomically

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


def train(experiment: Experiment, splits: Splits, folder: RunFolder, device: torch.device) -> Outcome:
    """Train as described, or go on with the folder's run, then test; result.json and checkpoints are in `folder`.

    splits: the images of `build_splits(experiment.data)`.
    """
    train_set, validation_set = splits.train, None
    if experiment.data.validation_share:
        train_set, validation_set = hold_out_classes(splits.train, experiment.data.validation_share)
    skipped: list[tuple[str, str]] = []
    pixels = _load(train_set, experiment.data, skipped)
    test_set = load_test_set(splits, experiment.data, skipped)
    validate = None
    if validation_set is not None:
        held_out = _load(validation_set, experiment.data, skipped)
        validate = _validation(held_out, experiment, device)
    if skipped:
        text = "".join(f"{name}\t{reason}\n" for name, reason in skipped)
        write_atomically(folder.path / "skipped.txt", lambda file: file.write(text.encode()))
    torch.manual_seed(experiment.loop.seed)
    model = build_model(experiment.model, experiment.data.channels)
    augment = Augment(experiment.augment, experiment.model.size)
    batches = TrainBatches(pixels, experiment.batch, views=experiment.augment.views, seed=experiment.loop.seed)
    objective = build_objective(experiment.loss, batches.num_classes, model.embedding_dim)
    seconds = fit(model, objective, batches, experiment.loop, folder, device=device, augment=augment, validate=validate)
    if folder.best.exists():
        load_module(model, load(folder.best)["model"], folder.best)
    outcome = test(model, test_set, experiment, device)
    folder.write_json(
        "result.json",
        {
            "checkpoint": folder.chosen.name,
            "test": outcome.metrics,
            "raw_pixels": outcome.raw_pixels,
            "train_classes": pixels.images.num_classes,
            "train_images": len(pixels.images),
            "test_classes": test_set.query.images.num_classes,
            "test_images": len(test_set.query.images),
            "train_seconds": seconds,
            "skipped_images": len(skipped),
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


def _validation(
    pixels: Pixels, experiment: Experiment, device: torch.device
) -> Callable[[nn.Module], dict[str, float]]:
    labels = torch.from_numpy(pixels.images.labels)

    def validate(model: nn.Module) -> dict[str, float]:
        metrics = retrieval(embed_pixels(model, pixels, experiment, device), labels, ks=(1,))
        return {"map@r": metrics.map_at_r, "recall@1": metrics.recall_at_k[1]}

    return validate


def _load(images: ImageSet, config: DataConfig, skipped: list[tuple[str, str]]) -> Pixels:
    pixels, broken = load_pixels(images, config)
    skipped.extend(broken)
    return pixels
