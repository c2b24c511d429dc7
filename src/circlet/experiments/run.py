"""A run from start to end: load, train, embed, measure, and what is left in the run folder.

Each step is one call into one package: images from `circlet.data`, batches and the loop from `circlet.training`, random
changes from `circlet.augment`, embeddings from `circlet.models`, metrics from `circlet.evaluate`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import nn

from circlet.analyse import Telemetry, Trace
from circlet.data import Splits
from circlet.data.pixels import Pixels
from circlet.data.query_gallery import TestSet
from circlet.distributed import is_rank_0, led, led_to, on_all_ranks, on_rank_0
from circlet.evaluate import retrieval
from circlet.experiments.build import (
    build_augment,
    build_model,
    build_objective,
    build_trackers,
    without_weights,
)
from circlet.experiments.experiment import Experiment
from circlet.experiments.held_out import chosen_thresholds, held_out_images
from circlet.experiments.loading import RunData, check_task, list_broken, load_run_data, warn_of_straddling
from circlet.experiments.outcome import Outcome, embed, frozen_metrics, test
from circlet.experiments.ranks import require_same_training
from circlet.experiments.remembered import SPLITS, begin, splits_of
from circlet.experiments.resuming import Change
from circlet.experiments.staged import train_in_stages
from circlet.locks import locked
from circlet.models import Embedder, embed_pixels
from circlet.training import Objective, RunFolder, fit, load, load_module, model_weights
from circlet.training.image_batches import TrainBatches
from circlet.training.stream_batches import StreamBatches, train_batches
from circlet.training.waiting import notes as waiting_notes
from circlet.training.waiting import waited

FROZEN = "frozen.json"
_BEGUN = (SPLITS, "data.json", "last.pt")  # one of them is there as soon as a run has begun


def train(
    experiment: Experiment,
    splits: Splits,
    folder: RunFolder,
    device: torch.device,
    *,
    began: float | None = None,
    changes: Mapping[str, Change] | None = None,
) -> Outcome | None:
    """Train as described, or go on with the folder's run, then test; result.json and checkpoints are in `folder`.

    experiment: with nothing left open (`resolved`). began: when the time that `transfer.minutes` counts began, by
    time.monotonic(); None: now. changes: what of the settings is new in a run that goes on (`resuming.changes`), which
    the folder notes when the training goes on, and not where that fails before.

    splits: the images of `build_splits(experiment.data)`; of a run that goes on, what the folder's splits.json names is
    taken from them (ValueError where training images are missing or new). All ranks must have the same settings and
    training images (ValueError). In a process group all ranks call this together; rank 0 tests, with the help of the
    others (`circlet.distributed.led`), and writes alone; they get None. Where the training diverges, the
    FloatingPointError that says so is raised once diverged.json has its reason. FolderInUse, an OSError, where another
    process writes into the folder.
    """
    with folder.locked():
        splits = on_all_ranks(lambda: splits_of(folder, experiment, splits, to_train=True))
        require_same_training(experiment, splits.train)
        on_all_ranks(lambda: check_task(experiment.task, splits))
        on_rank_0(lambda: warn_of_straddling(splits, experiment.data))
        if experiment.transfer.stages:
            with divergence_noted(folder):
                return train_in_stages(experiment, splits, folder, device, began=began, changes=changes)
        data = on_all_ranks(lambda: load_run_data(experiment.data, splits))
        require_same_training(experiment, data.train.images)  # without those that a rank could not read
        on_rank_0(lambda: list_broken(data, folder.path / "skipped.txt"))
        resumed = on_rank_0(folder.last.exists)
        model, batches, objective = on_all_ranks(lambda: _parts(experiment, data.train, resumed, device))
        on_rank_0(lambda: begin(folder, experiment, data, changes))
        frozen = led(lambda: _before_training(experiment, model, data.test, folder, device, resumed=resumed))
        seconds = _fit(experiment, data, model, batches, objective, folder, device)
        return led_to(lambda: _tested(experiment, model, data, folder, device, frozen=frozen, seconds=seconds,
                                      faster=batches.faster))  # fmt: skip


def _tested(
    experiment: Experiment,
    model: Embedder,
    data: RunData,
    folder: RunFolder,
    device: torch.device,
    *,
    frozen: dict[str, float] | None,
    seconds: float,
    faster: str,
) -> Outcome:
    """What the best checkpoint, or else the last, gives on the test classes: into result.json.

    faster: what would make the batches come faster, should the training have waited for them.
    """
    assert data.test is not None
    if folder.best.exists():
        load_module(model, model_weights(load(folder.best)), folder.best)
    held_out = None
    if data.validation is not None:
        rows = embed(model, data.validation, experiment, device)
        held_out = held_out_images(rows, data.validation.images)
    chosen = chosen_thresholds(held_out, data.test, folder)
    outcome = test(model, data.test, experiment, device, frozen=frozen, thresholds=chosen.thresholds)
    folder.write_json(
        "result.json",
        {
            "checkpoint": folder.chosen.name,
            **outcome.to_json(),
            **data.counts(),
            "train_seconds": seconds,
            **(waiting := waited(folder.read_metrics())),
        },
    )
    return outcome._replace(notes=(chosen.told(outcome.promise), *waiting_notes(waiting, faster)))


def _before_training(
    experiment: Experiment,
    model: Embedder,
    test_set: TestSet | None,
    folder: RunFolder,
    device: torch.device,
    *,
    resumed: bool,
) -> dict[str, float] | None:
    """What a pretrained network gives before it is trained, kept in frozen.json for a run that goes on."""
    if test_set is None or not experiment.model.starts_from_weights:
        return None
    if not resumed:
        folder.write_json(FROZEN, frozen_metrics(model, test_set, experiment, device))
    return folder.read_json(FROZEN) if (folder.path / FROZEN).exists() else None


def _parts(
    experiment: Experiment, pixels: Pixels, resumed: bool, device: torch.device
) -> tuple[Embedder, TrainBatches | StreamBatches, Objective]:
    """Model, batches and objective; a resumed run takes its weights from the checkpoint later."""
    seed = experiment.loop.seed
    torch.manual_seed(seed)
    config = without_weights(experiment.model) if resumed else experiment.model
    model = build_model(config, experiment.data.channels)
    classes_per_class = experiment.augment.classes_per_class
    batches = train_batches(pixels, experiment.batch, classes_per_class=classes_per_class, seed=seed)
    return model, batches, build_objective(experiment.loss, batches.num_classes, model.embedding_dim, device)


def _fit(
    experiment: Experiment,
    data: RunData,
    model: Embedder,
    batches: TrainBatches | StreamBatches,
    objective: Objective,
    folder: RunFolder,
    device: torch.device,
) -> float:
    """Seconds of training."""
    validate = partial(_validate, data.validation, experiment, device) if experiment.data.validation_share else None
    with divergence_noted(folder):
        return fit(
            model,
            objective,
            batches,
            experiment.loop,
            folder,
            device=device,
            augment=build_augment(experiment, experiment.view.size),
            validate=validate,
            observe=Telemetry(Trace(folder.path) if is_rank_0() else None),
            trackers=build_trackers(experiment, folder.path) if is_rank_0() else (),
        )


@contextmanager
def nothing_left(folder: RunFolder) -> Iterator[None]:
    """Where a run cannot begin, its folder goes: for the caller who has made it, and for nobody else."""
    try:
        yield
    except (ValueError, OSError, ImportError):
        if is_rank_0():
            with suppress(OSError):  # another writes into it (FolderInUse), or something else lies in it
                with locked(folder.path):
                    if not any((folder.path / name).exists() for name in _BEGUN):
                        for name in ("config.json", "environment.json", "skipped.txt"):
                            (folder.path / name).unlink(missing_ok=True)
                folder.path.rmdir()
        raise


@contextmanager
def divergence_noted(folder: RunFolder) -> Iterator[None]:
    """A run that diverges within it leaves its reason in the folder."""
    try:
        yield
    except FloatingPointError as error:
        if is_rank_0():
            folder.end_without_result(str(error))
        raise


def _validate(
    pixels: Pixels | None, experiment: Experiment, device: torch.device, model: nn.Module
) -> dict[str, float]:
    assert pixels is not None
    labels = torch.from_numpy(pixels.images.labels)
    metrics = retrieval(embed_pixels(model, pixels, experiment.view, device), labels, ks=(1,))
    return {"map@r": metrics.map_at_r, "recall@1": metrics.recall_at_k[1]}
