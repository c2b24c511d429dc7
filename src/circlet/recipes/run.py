"""A run from start to end: data, training, evaluation on unseen classes, and what is left in the run folder."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from circlet.analyse import Telemetry, Trace
from circlet.data import Splits, hold_out_classes
from circlet.data.augment import Augment
from circlet.distributed import is_rank_0, on_all_ranks, on_rank_0
from circlet.evaluate import retrieval
from circlet.files import write_text
from circlet.models import Embedder
from circlet.recipes.build import Pixels, TrainBatches, build_model, build_objective, check_task
from circlet.recipes.embedding import (
    Embedded,
    TestSet,
    embed_pixels,
    embed_raw_pixels,
    embed_test_set,
    load_images,
    load_test_set,
)
from circlet.recipes.experiment import DataConfig, Experiment, ModelConfig
from circlet.recipes.face_sets import face_metrics, open_face_sets
from circlet.recipes.metrics import metrics_of
from circlet.train import Objective, RunFolder, fit, load, load_module


class Outcome(NamedTuple):
    """What a run found on its test classes; metrics by the names of `circlet.recipes.metrics` and `face_sets`."""

    metrics: dict[str, float]
    raw_pixels: dict[str, float]
    test_set: TestSet
    embedded: Embedded


def train(experiment: Experiment, splits: Splits, folder: RunFolder, device: torch.device) -> Outcome | None:
    """Train as described, or go on with the folder's run, then test; result.json and checkpoints are in `folder`.

    splits: the images of `build_splits(experiment.data)`. In a process group all ranks call this together; rank 0
    alone tests and writes, and the others get None. Where the training diverges, the FloatingPointError that says so
    is raised once diverged.json has its reason.
    """
    on_all_ranks(lambda: check_task(experiment.task, splits))
    data = on_all_ranks(lambda: _load_data(experiment.data, splits, folder))
    resumed = on_rank_0(folder.last.exists)

    def parts() -> tuple[Embedder, TrainBatches, Objective]:
        torch.manual_seed(experiment.loop.seed)
        config = without_weights(experiment.model) if resumed else experiment.model
        model = build_model(config, experiment.data.channels)
        batches = TrainBatches(data.train, experiment.batch, views=experiment.augment.views, seed=experiment.loop.seed)
        return model, batches, build_objective(experiment.loss, batches.num_classes, model.embedding_dim, device)

    model, batches, objective = on_all_ranks(parts)
    validate = None
    if experiment.data.validation_share:
        validate = partial(_validate, data.validation, experiment, device)
    augment = Augment(experiment.augment, experiment.model.size)
    observe = Telemetry(Trace(folder.path) if is_rank_0() else None)
    size = {"train_classes": data.train.images.num_classes, "train_images": len(data.train.images)}
    on_rank_0(lambda: folder.begin(size))
    try:
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
    except FloatingPointError as error:
        if is_rank_0():
            folder.end_without_result(str(error))
        raise
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
            **size,
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
    model = build_model(without_weights(experiment.model), experiment.data.channels)
    path = checkpoint or folder.chosen
    load_module(model, load(path)["model"], path)
    return experiment, model.to(device).eval()


def without_weights(config: ModelConfig) -> ModelConfig:
    """The same model, to be filled from a checkpoint: no published weights are fetched or read."""
    return replace(config, pretrained=False, weights=None)


def test(model: Embedder, test_set: TestSet, experiment: Experiment, device: torch.device) -> Outcome:
    """Metrics of a model on unseen classes by the experiment's task, beside those of the raw pixels."""
    embedded = embed_test_set(model, test_set, experiment, device)
    metrics = metrics_of(embedded, test_set, experiment)
    if experiment.task == "face":
        metrics |= face_metrics(model, open_face_sets(experiment.faces), experiment, device)
    plain = replace(experiment, test=replace(experiment.test, expand=0, rerank=False))
    raw = metrics_of(embed_raw_pixels(model, test_set, experiment, device), test_set, plain)
    return Outcome(metrics, raw, test_set, embedded)


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
    train = load_images(train_set, config, skipped)
    if not is_rank_0():
        return _Data(train, None, None, len(skipped))
    test_set = load_test_set(splits, config, skipped)
    validation = None if validation_set is None else load_images(validation_set, config, skipped)
    if skipped:
        text = "".join(f"{name}\t{reason}\n" for name, reason in skipped)
        write_text(folder.path / "skipped.txt", text)
    return _Data(train, test_set, validation, len(skipped))
