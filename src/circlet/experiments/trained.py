"""What is done with a trained run: load it, test it again, embed images with it."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from circlet.data import ImageSet, Splits
from circlet.data.copies import settled
from circlet.data.pixels import Pixels, load_pixels
from circlet.data.query_gallery import TestSet, load_test_set
from circlet.experiments.build import build_model, without_weights
from circlet.experiments.experiment import Experiment
from circlet.experiments.folders import TO_USE, open_run
from circlet.experiments.held_out import thresholds_of
from circlet.experiments.loading import check_task
from circlet.experiments.outcome import Outcome, embed, frozen_metrics, test
from circlet.experiments.remembered import splits_of
from circlet.experiments.testing import FaceSets, TestConfig
from circlet.models import Embedder
from circlet.models.published import is_packaged
from circlet.models.vector_network import VECTORS
from circlet.terminal import say
from circlet.training import RunFolder, load, load_module, model_weights


def load_run(
    run: Path, device: torch.device, checkpoint: Path | None = None, *, trust: Collection[str] = ()
) -> tuple[Experiment, Embedder]:
    """The experiment and the trained model of a run folder: its best checkpoint if there is one, else its last.

    trust: the `package.module:name` that its settings may import; see `open_run`.
    """
    folder, experiment = open_run(run, trust, needed=TO_USE)
    model = build_model(without_weights(experiment.model), experiment.data.channels)
    path = checkpoint or folder.chosen
    load_module(model, model_weights(load(path)), path)
    return experiment, model.to(device).eval()


def evaluate_run(
    run: Path,
    device: torch.device,
    *,
    images: ImageSet | Splits | None = None,
    data: Splits | None = None,
    test_config: TestConfig | None = None,
    faces: FaceSets | None = None,
    checkpoint: Path | None = None,
    on_error: Literal["raise", "skip"] | None = None,
    trust: Collection[str] = (),
) -> tuple[Experiment, Outcome]:
    """Test a run again, by its task: the experiment as it was tested, and what was found.

    images: every one searches all the others, or the queries of a split its gallery, by retrieval if they have no
    cameras; None: the test images of the run, those that splits.json in its folder names. data: where to find these;
    None: where the settings say. test_config, faces, on_error: instead of the run's own. checkpoint: another than the
    run's best or last.

    ValueError where test images of the run are missing; new ones are named on standard error and left out.
    """
    experiment, model = load_run(run, device, checkpoint, trust=trust)
    experiment = replace(experiment, test=test_config or experiment.test, faces=faces or experiment.faces)
    if on_error is not None:
        experiment = replace(experiment, data=replace(experiment.data, on_error=on_error))
    if images is None:
        splits = splits_of(RunFolder(run), experiment, data)
    else:
        whole = images if isinstance(images, Splits) else Splits(images, images, closed_set=True)
        splits = settled(whole, on_error=experiment.data.on_error)
        if splits.query.cameras is None:  # nothing to search across
            experiment = replace(experiment, task="retrieval", test=replace(experiment.test, rerank=False))
    check_task(experiment.task, splits)
    test_set = load_test_set(splits, experiment.data.decoding)
    frozen = _frozen(run, experiment, test_set, device)
    thresholds = thresholds_of(RunFolder(run)) if checkpoint is None else None  # they are those of the run's result
    return experiment, test(model, test_set, experiment, device, frozen=frozen, thresholds=thresholds)


def _frozen(run: Path, experiment: Experiment, test_set: TestSet, device: torch.device) -> dict[str, float] | None:
    """What the network gives without any training, where its weights are at hand; nothing is fetched for it."""
    config = experiment.model
    if not config.starts_from_weights or (config.weights is None and not _is_at_hand(config.backbone)):
        return None
    try:
        model = build_model(config, experiment.data.channels)
    except (OSError, ValueError) as error:
        say(f"{run}: the frozen network is left out of the table: {error}")
        return None
    return frozen_metrics(model, test_set, experiment, device)


def _is_at_hand(backbone: str) -> bool:
    """Whether the network as it is before any training needs no fetching."""
    return backbone == VECTORS or is_packaged(backbone)


def keep_evaluation(run: Path, experiment: Experiment, outcome: Outcome) -> None:
    """Keep what a test on the run's own test classes found in its folder, as evaluation.json."""
    RunFolder(run).write_json("evaluation.json", {"config": experiment.to_json(), **outcome.to_json()})


def query_images(run: Path, *, trust: Collection[str] = ()) -> ImageSet:
    """The query images of a run, where its settings say that they are."""
    folder, experiment = open_run(run, trust, needed=TO_USE)
    return splits_of(folder, experiment, None).query


def embed_with_run(
    run: Path,
    device: torch.device,
    *,
    images: ImageSet | None = None,
    data: Splits | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    trust: Collection[str] = (),
) -> tuple[Pixels, Tensor]:
    """The pixels of images and their embeddings (N, dim), in unit length, by the model of a run.

    images: None: the query images of the run. data: where to find these; None: where the settings say. on_error: see
    `circlet.data.Decoding`.
    """
    experiment, model = load_run(run, device, trust=trust)
    chosen = splits_of(RunFolder(run), experiment, data).query if images is None else images
    pixels = load_pixels(chosen, replace(experiment.data.decoding, on_error=on_error))
    return pixels, embed(model, pixels, experiment, device)
