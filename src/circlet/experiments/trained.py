"""What is done with a trained run: load it, test it again, embed images with it."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from circlet.data import ImageSet, Splits
from circlet.data.pixels import Pixels, load_pixels
from circlet.data.query_gallery import load_test_set
from circlet.experiments.build import build_model, without_weights
from circlet.experiments.experiment import Experiment
from circlet.experiments.folders import TO_USE, open_run
from circlet.experiments.loading import build_splits
from circlet.experiments.run import Outcome, test
from circlet.experiments.testing import FaceSets, TestConfig
from circlet.models import Embedder, embed_pixels
from circlet.training import RunFolder, load, load_module


def load_run(
    run: Path, device: torch.device, checkpoint: Path | None = None, *, trust: Collection[str] = ()
) -> tuple[Experiment, Embedder]:
    """The experiment and the trained model of a run folder: its best checkpoint if there is one, else its last.

    trust: the `package.module:name` that its settings may import; see `open_run`.
    """
    folder, experiment = open_run(run, trust, needed=TO_USE)
    model = build_model(without_weights(experiment.model), experiment.data.channels)
    path = checkpoint or folder.chosen
    load_module(model, load(path)["model"], path)
    return experiment, model.to(device).eval()


def evaluate_run(
    run: Path,
    device: torch.device,
    *,
    images: ImageSet | None = None,
    test_config: TestConfig | None = None,
    faces: FaceSets | None = None,
    checkpoint: Path | None = None,
    trust: Collection[str] = (),
) -> tuple[Experiment, Outcome]:
    """Test a run again, by its task: the experiment as it was tested, and what was found.

    images: every one searches all the others, by retrieval if they have no cameras; None: the test images of the run.
    test_config, faces: instead of the run's own. checkpoint: another than the run's best or last.
    """
    experiment, model = load_run(run, device, checkpoint, trust=trust)
    experiment = replace(experiment, test=test_config or experiment.test, faces=faces or experiment.faces)
    if images is None:
        splits = build_splits(experiment.data)
    else:
        splits = Splits(images, images, closed_set=True)
        if images.cameras is None:  # nothing to search across
            experiment = replace(experiment, task="retrieval", test=replace(experiment.test, rerank=False))
    return experiment, test(model, load_test_set(splits, experiment.data.decoding), experiment, device)


def keep_evaluation(run: Path, experiment: Experiment, outcome: Outcome) -> None:
    """Keep what a test on the run's own test classes found in its folder, as evaluation.json."""
    found = {"test": outcome.metrics, "raw_pixels": outcome.raw_pixels}
    RunFolder(run).write_json("evaluation.json", {"config": experiment.to_json(), **found})


def embed_with_run(
    run: Path,
    device: torch.device,
    *,
    images: ImageSet | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    trust: Collection[str] = (),
) -> tuple[Pixels, Tensor]:
    """The pixels of images and their embeddings (N, dim), in unit length, by the model of a run.

    images: None: the query images of the run. on_error: see `circlet.data.Decoding`.
    """
    experiment, model = load_run(run, device, trust=trust)
    chosen = build_splits(experiment.data).query if images is None else images
    pixels = load_pixels(chosen, replace(experiment.data.decoding, on_error=on_error))
    return pixels, embed_pixels(model, pixels, experiment.view, device)
