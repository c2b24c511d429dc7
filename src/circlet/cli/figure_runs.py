"""The runs behind Figures 3 to 5: one for each loss and setting, in a folder of its own, run once and then read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from circlet.evaluate.tasks import RANKS
from circlet.losses import Level
from circlet.recipes import RECIPES, Experiment, LossConfig, build_loss, build_splits, train
from circlet.train import RunFolder


def base_experiment(
    recipe: str,
    root: Path | None,
    level: Level | None,
    steps: int | None,
    seed: int,
    *,
    images: Path | None = None,
) -> Experiment:
    """The recipe, at another level of labels if told: class weights go without made-up classes, in shuffled batches."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe: found {recipe!r}, expected one of {', '.join(RECIPES)}")
    base = RECIPES[recipe]()
    base = replace(base, data=replace(base.data, root=root or base.data.root, images=images))
    base = replace(base, loop=replace(base.loop, steps=base.loop.steps if steps is None else steps, seed=seed))
    if level is None or level == base.loss.level:
        return base
    if level != "pair":
        base = replace(base, augment=replace(base.augment, composed_classes=0.0, warped_classes=0.0))
    batch = replace(base.batch, sampler="shuffle" if level == "class" else "pk")
    return replace(base, batch=batch, loss=replace(base.loss, level=level))


def with_loss(base: Experiment, loss: LossConfig) -> Experiment:
    """The experiment with another loss, at the level that it has."""
    return replace(base, loss=replace(loss, level=base.loss.level))


def finish(experiments: Sequence[Experiment], run_dir: Path, device: torch.device) -> list[RunFolder]:
    """The finished run of each experiment: read if it is there, gone on with if it was cut off, else run now.

    One that diverges is finished too: its folder says why (`RunFolder.diverged`), and has no result. A folder is named
    after its experiment, by a digest of all settings, so that equal settings are run once.
    """
    for experiment in experiments:
        build_loss(experiment.loss)  # a bad setting stops the figure before its first run
    folders = [RunFolder(run_dir / _name(experiment)) for experiment in experiments]
    left = {
        folder.path: experiment
        for folder, experiment in zip(folders, experiments, strict=True)
        if not (folder.path / "result.json").is_file() and folder.diverged is None
    }
    splits = build_splits(experiments[0].data) if left else None
    for number, (path, experiment) in enumerate(left.items(), 1):
        assert splits is not None
        print(f"run {number} of {len(left)}: {experiment.loss}, folder {path}", flush=True)
        there = (path / "config.json").is_file()
        folder = RunFolder.open(path) if there else RunFolder.create(path, experiment.to_json())
        try:
            train(experiment, splits, folder, device)
        except FloatingPointError as error:
            print(f"diverged: {error}", flush=True)
    return folders


def experiment_of(folder: RunFolder) -> Experiment:
    """What was run."""
    return Experiment.from_json(folder.read_json("config.json"))


def describe_runs(experiments: Sequence[Experiment]) -> str:
    """Where runs were measured, for a title: data, level of the labels, steps; what differs among them with "or"."""
    sources = dict.fromkeys(experiment.recipe for experiment in experiments)
    levels = dict.fromkeys(experiment.loss.level for experiment in experiments)
    steps = dict.fromkeys(str(experiment.loop.steps) for experiment in experiments)
    return f"{' or '.join(sources)}, {' or '.join(levels)} level, {' or '.join(steps)} steps"


def metric_names(experiment: Experiment) -> list[str]:
    """The metrics that the experiment's test will have, the one that is shown first at the front.

    Recall@K for which there turn out to be too few images, and those of face test sets, are not told apart here.
    """
    if experiment.task == "reid":
        mean = "mAP" if experiment.test.average_precision == "step" else "mAP (trapezoid)"
        return [*(f"rank-{k}" for k in RANKS), mean, "mINP"]
    return [*(f"recall@{k}" for k in experiment.ks), "r_precision", "map@r", "mrr"]


def _name(experiment: Experiment) -> str:
    content = json.dumps(experiment.to_json(), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:10]
    return f"{experiment.recipe}-{experiment.loss.name}-{experiment.loss.level}-{digest}"
