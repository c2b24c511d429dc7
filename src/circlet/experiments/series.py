"""A series of runs, one after another in this process: each in a folder of its own, run once and then read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from circlet.evaluate.tasks import PRECISION_KS, RANKS
from circlet.experiments.experiment import Experiment
from circlet.experiments.folders import settings_digest
from circlet.experiments.loss import LossConfig, build_loss
from circlet.experiments.preprocessing import resolved
from circlet.experiments.remembered import common_splits
from circlet.experiments.run import train
from circlet.terminal import printable
from circlet.training import RunFolder


def with_loss(base: Experiment, loss: LossConfig) -> Experiment:
    """The experiment with another loss, at the level that it has."""
    return replace(base, loss=replace(loss, level=base.loss.level))


def finish(experiments: Sequence[Experiment], run_dir: Path, device: torch.device) -> list[RunFolder]:
    """The finished run of each experiment: read if it is there, gone on with if it was cut off, else run now.

    One that diverges is finished too: its folder says why (`RunFolder.diverged`), and has no result. A folder is named
    after its experiment, by a digest of all settings, so that equal settings are run once. All are of the split that
    the first of them in `run_dir` began with: ValueError where its images are not there any more.
    """
    experiments = [resolved(experiment) for experiment in experiments]
    for experiment in experiments:
        build_loss(experiment.loss)  # a bad setting stops the figure before its first run
    folders = [RunFolder(run_dir / _name(experiment)) for experiment in experiments]
    left = {
        folder.path: experiment
        for folder, experiment in zip(folders, experiments, strict=True)
        if not (folder.path / "result.json").is_file() and folder.diverged is None
    }
    splits = common_splits(run_dir, experiments[0].data, keep=True) if left else None
    for number, (path, experiment) in enumerate(left.items(), 1):
        assert splits is not None
        print(f"run {number} of {len(left)}: {experiment.loss}, folder {printable(str(path))}", flush=True)
        there = (path / "config.json").is_file()
        folder = RunFolder.open(path) if there else RunFolder.create(path, experiment.to_json())
        try:
            train(experiment, splits, folder, device)
        except FloatingPointError as error:
            print(f"diverged: {printable(str(error))}", flush=True)
    return folders


def describe_runs(experiments: Sequence[Experiment]) -> str:
    """Where runs were measured, for a title: data, level of the labels, steps; what differs among them with "or"."""
    sources = dict.fromkeys(experiment.recipe for experiment in experiments)
    levels = dict.fromkeys(experiment.loss.level for experiment in experiments)
    steps = dict.fromkeys(str(experiment.loop.steps) for experiment in experiments)
    return f"{' or '.join(sources)}, {' or '.join(levels)} level, {' or '.join(steps)} steps"


def metric_names(experiment: Experiment) -> list[str]:
    """The metrics that the experiment's test will have, the one that is shown first at the front.

    K for which there turn out to be too few images, and metrics of face test sets, are not told apart here.
    """
    if experiment.task == "reid":
        mean = "mAP" if experiment.test.average_precision == "step" else "mAP (trapezoid)"
        return [*(f"rank-{k}" for k in RANKS), mean, "mINP"]
    precisions = (f"precision@{k}" for k in PRECISION_KS)
    return [*(f"recall@{k}" for k in experiment.ks), *precisions, "r_precision", "map@r", "mrr"]


def _name(experiment: Experiment) -> str:
    name = experiment.loss.name.replace(":", ".")
    return f"{experiment.folder_name}-{name}-{experiment.loss.level}-{settings_digest(experiment, length=10)}"
