"""A fair comparison: every loss with the same data, network, batches and steps, over the same seeds.

The order is what keeps it fair. First a search, if any: each candidate setting trains once on some of the training
classes and is judged on the others; the best MAP@R wins. Only then, with the settings fixed, each loss trains on all
training classes (but for those that a recipe with validation_share holds out to choose its checkpoint), once for each
seed, and is tested once. Nothing is chosen by a test metric.

Of a recipe that starts from a pretrained network in stages, each run is that of a linear head on the features of the
frozen network (`heads`), from a start that is the same for all (`start`).

A run that diverges has no metrics. In the search it loses; in the comparison it is shown as diverged, and means and
differences are of the other seeds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from circlet.compare.classes import read_classes
from circlet.compare.contenders import Contender, at_edge, candidates, in_common, settings_text
from circlet.compare.costs import COST
from circlet.compare.heads import HeadWorkers
from circlet.compare.result import Candidate, Entry, Result, steps_of
from circlet.compare.runs import Machine, Run, finish
from circlet.compare.start import Start, find_start, for_heads
from circlet.experiments import Experiment, LossConfig, common_splits
from circlet.experiments.head_runs import compute_features
from circlet.locks import locked
from circlet.training import RunFolder


@dataclass(frozen=True)
class Plan:
    """What is compared and how.

    base: the experiment, of which the loss and the seed are changed; the first seed is its own. contenders: the first
    is the baseline, unless another label is given. search: candidate settings for each loss, 0 for none, trained for
    search_steps (None: as long as the others). validation_share: of the training classes, to judge them. keep_models:
    leave a checkpoint of every head that is tested, 20 MB and more each (runs without stages always leave one).
    """

    base: Experiment
    contenders: tuple[Contender, ...]
    seeds: int = 3
    search: int = 0
    search_steps: int | None = None
    validation_share: float = 0.2
    baseline: str | None = None
    keep_models: bool = False

    def __post_init__(self) -> None:
        labels = [contender.label for contender in self.contenders]
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(f"losses: found {', '.join(labels) or 'none'}, expected two or more, each once")
        if self.seeds < 1:
            raise ValueError(f"seeds: found {self.seeds}, expected at least 1")
        if self.search < 0:
            raise ValueError(f"search: found {self.search}, expected 0 or a number of candidates for each loss")
        if self.search and not 0 < self.validation_share < 1:
            raise ValueError(
                f"validation_share: found {self.validation_share} with search {self.search}, expected a share between "
                "0 and 1: settings are chosen on classes held out of training, never on test classes"
            )
        if self.baseline is not None and self.baseline not in labels:
            raise ValueError(f"baseline: found {self.baseline!r}, expected one of {', '.join(labels)}")

    @property
    def baseline_label(self) -> str:
        """What the others are compared with."""
        return self.baseline or self.contenders[0].label


def compare(plan: Plan, folder: Path, machine: Machine) -> Result:
    """Search, train, test; runs are below `folder`, and those that are there are not made again.

    All are of the split that the first of them began with: ValueError where its images are not there any more. So it is
    where every run has diverged, and where one cannot be made. FolderInUse, an OSError, where another
    comparison is at work in the folder.
    """
    of_heads = bool(plan.base.transfer.stages)
    base = in_common(for_heads(plan.base) if of_heads else plan.base, plan.contenders)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        splits = common_splits(folder, base.data, keep=True)
        if not of_heads:
            return _compare(plan, base, folder, partial(finish, machine=machine))
        start = find_start(base, folder, machine.device)
        prepare = partial(compute_features, base, splits, machine.device)
        with HeadWorkers(machine, start, folder, prepare) as workers:
            return _compare(plan, base, folder, workers.finish, start)


Finish = Callable[[Sequence[Run]], list[RunFolder]]


def _compare(plan: Plan, base: Experiment, folder: Path, finish: Finish, start: Start | None = None) -> Result:
    tried = _search(plan, base, folder, finish)
    chosen = [
        _best(found) if found else contender.loss for contender, found in zip(plan.contenders, tried, strict=True)
    ]
    seeds = [base.loop.seed + i for i in range(plan.seeds)]
    keep_model = plan.keep_models and start is not None
    runs = [
        Run(
            folder / "runs", f"{contender.label}-seed-{seed}", _experiment(base, loss, seed=seed), keep_model=keep_model
        )
        for contender, loss in zip(plan.contenders, chosen, strict=True)
        for seed in seeds
    ]
    runs = sorted(runs, key=lambda run: run.experiment.loop.seed)  # after the first seed there is one of each
    folders = dict(zip((run.name for run in runs), finish(runs), strict=True))
    entries = []
    for contender, loss, found in zip(plan.contenders, chosen, tried, strict=True):
        own = [folders[f"{contender.label}-seed-{seed}"] for seed in seeds]
        entries.append(_entry(contender, loss, found, own))
    finished = [run for run in folders.values() if run.diverged is None]
    if not finished:
        raise ValueError(f"losses: found that all runs diverged, such as {entries[0].label}: {entries[0].diverged[0]}")
    result = finished[0].read_result("train_classes", "train_images", "test_classes", "test_images", "raw_pixels")
    facts = _counts(finished)
    if plan.search:
        facts |= {"validation_share": plan.validation_share, "search_steps": plan.search_steps or steps_of(base)}
    costs = [cost for entry in entries for cost in entry.cost]
    for name in ("jobs", "threads", "device"):
        facts[name] = sorted({cost[name] for cost in costs if name in cost})
    environment = next(iter(folders.values())).read_json("environment.json")
    whole = Result(entries, plan.baseline_label, base, seeds, result["raw_pixels"], environment, facts)
    if start is None:
        return whole._replace(frozen=result.get("frozen"), frozen_classes=read_classes(finished[0].path, "frozen"))
    return whole._replace(
        frozen=start.frozen,
        closed_form=start.closed_form,
        frozen_classes=start.frozen_classes,
        closed_form_classes=start.closed_form_classes,
        facts={**facts, "shrinkage": start.shrinkage, "models": plan.keep_models},
    )


def _counts(finished: Sequence[RunFolder]) -> dict[str, Any]:
    """How many images of how many classes all runs had; a ValueError where they do not agree.

    They may not where folders of earlier versions, which keep no split, are gone on with after the images have changed.
    """
    names = ("train_classes", "train_images", "test_classes", "test_images")
    found = [{name: run.read_result()[name] for name in names} for run in finished]
    for run, counts in zip(finished, found, strict=True):
        if counts != found[0]:
            raise ValueError(f"{run.path}: found {counts}, expected {found[0]} as in {finished[0].path}: the images "
                             "have changed between the runs; remove one of them, or compare anew (--out)")  # fmt: skip
    return found[0]


def _search(plan: Plan, base: Experiment, folder: Path, finish: Finish) -> list[list[tuple[LossConfig, float]]]:
    """Settings tried for each contender, with their MAP@R; none where there is nothing to choose."""
    runs: list[list[tuple[LossConfig, Run]]] = []
    for contender in plan.contenders:
        tried = candidates(contender, plan.search) if plan.search else []
        runs.append([])
        for number, loss in enumerate(tried if len(tried) > 1 else [], 1):
            experiment = _experiment(base, loss, seed=base.loop.seed, steps=plan.search_steps)
            run = Run(folder / "search", f"{contender.label}-candidate-{number}", experiment, plan.validation_share)
            runs[-1].append((loss, run))
    finish([run for own in runs for _, run in own])
    return [[(loss, _map_at_r(RunFolder(run.path))) for loss, run in own] for own in runs]


def _map_at_r(folder: RunFolder) -> float:
    found: float = math.nan if folder.diverged is not None else folder.read_result()["test"]["map@r"]
    return found


def _best(found: Sequence[tuple[LossConfig, float]]) -> LossConfig:
    """The first of equals, so rather the published one; NaN is below all numbers."""
    return max(found, key=lambda pair: -math.inf if math.isnan(pair[1]) else pair[1])[0]


def _experiment(base: Experiment, loss: LossConfig, *, seed: int, steps: int | None = None) -> Experiment:
    """steps: None: those of `base`."""
    experiment = replace(base, loss=loss, loop=replace(base.loop, seed=seed))
    if steps is None:
        return experiment
    if not base.transfer.stages:
        return replace(experiment, loop=replace(experiment.loop, steps=steps))
    transfer = replace(base.transfer, head=replace(base.transfer.head, steps=steps))
    return replace(experiment, transfer=transfer)


def _entry(
    contender: Contender, loss: LossConfig, tried: list[tuple[LossConfig, float]], folders: list[RunFolder]
) -> Entry:
    reasons = [folder.diverged for folder in folders]
    empty: dict[str, Any] = {"test": {}, "train_seconds": math.nan}
    results = [empty if why else folder.read_result() for folder, why in zip(folders, reasons, strict=True)]
    costs = [folder.read_json(COST) for folder in folders]
    return Entry(
        contender.label,
        settings_text(loss),
        f"best MAP@R of {len(tried)} candidates on validation classes" if tried else contender.chosen_by,
        [Candidate(settings_text(setting), score) for setting, score in tried],
        at_edge(loss, [setting for setting, _ in tried]),
        [result["test"] for result in results],
        [{**cost, "train_seconds": result["train_seconds"]} for cost, result in zip(costs, results, strict=True)],
        [[(line["step"], line["loss"]) for line in folder.read_metrics() if "loss" in line] for folder in folders],
        reasons,
        [read_classes(folder.path) for folder in folders],
    )
