"""A fair comparison: every loss with the same data, network, batches and steps, over the same seeds.

The order is what keeps it fair. First a search, if any: each candidate setting trains once on some of the training
classes and is judged on the others; the best MAP@R wins. Only then, with the settings fixed, each loss trains on all
training classes (but for those that a recipe with validation_share holds out to choose its checkpoint), once for each
seed, and is tested once. Nothing is chosen by a test metric.

A run that diverges has no metrics. In the search it loses; in the comparison it is shown as diverged, and means and
differences are of the other seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from circlet.compare.contenders import Contender, at_edge, candidates, in_common, settings_text
from circlet.compare.runs import COST, Machine, Run, finish
from circlet.compare.statistics import Interval, mean_interval, paired_difference
from circlet.experiments import Experiment, LossConfig
from circlet.training import RunFolder


@dataclass(frozen=True)
class Plan:
    """What is compared and how.

    base: the experiment, of which the loss and the seed are changed; the first seed is its own. contenders: the first
    is the baseline, unless another label is given. search: candidate settings for each loss, 0 for none, trained for
    search_steps (None: as long as the others). validation_share: of the training classes, to judge them.
    """

    base: Experiment
    contenders: tuple[Contender, ...]
    seeds: int = 3
    search: int = 0
    search_steps: int | None = None
    validation_share: float = 0.2
    baseline: str | None = None

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


# Shown of each task, the last one as the measure of difference; those that a run does not have are left out.
HEADLINES = ("recall@1", "r_precision", "rank-1", "mINP", "lfw", "cfp-fp", "agedb-30", "ytf", "ijb-c@1e-4", "megaface",
             "mAP (trapezoid)", "mAP", "map@r")  # fmt: skip


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


class Candidate(NamedTuple):
    """A setting that the search tried, and the MAP@R that it reached on validation classes; NaN: it diverged."""

    settings: str
    map_at_r: float


class Entry(NamedTuple):
    """A contender's part of the result; lists are by seed.

    settings and chosen_by say what was run and why; at_edge: a wider search might have chosen otherwise. test: metrics
    on the test classes. cost: cost.json, with train_seconds. loss_curve: (step, training loss). diverged: why a run has
    no metrics, else None.
    """

    label: str
    settings: str
    chosen_by: str
    candidates: list[Candidate]
    at_edge: bool
    test: list[dict[str, float]]
    cost: list[dict[str, Any]]
    loss_curve: list[list[tuple[int, float]]]
    diverged: list[str | None]

    @property
    def num_diverged(self) -> int:
        """How many of its runs have diverged."""
        return sum(reason is not None for reason in self.diverged)

    def values(self, metric: str) -> list[float]:
        """A metric on the test classes, by seed; NaN where the run diverged."""
        return [test.get(metric, math.nan) for test in self.test]

    def interval(self, metric: str) -> Interval:
        """Its mean and 95 % interval over the seeds that have not diverged; NaN where all have."""
        return _interval(self.values(metric))


class Result(NamedTuple):
    """A finished comparison. experiment: what all runs share (its loss is the recipe's, and was not used)."""

    entries: list[Entry]
    baseline: str
    experiment: Experiment
    seeds: list[int]
    raw_pixels: dict[str, float]
    environment: dict[str, Any]
    facts: dict[str, Any]

    @property
    def headline(self) -> list[str]:
        """The metrics that are shown; the last is the one by which losses are told apart."""
        return [name for name in HEADLINES if name in self.metrics]

    @property
    def metrics(self) -> list[str]:
        """All metrics on the test classes."""
        return list(next(test for entry in self.entries for test in entry.test if test))

    def difference(self, entry: Entry, metric: str) -> Interval:
        """Of an entry to the baseline, paired by seed, of those that have diverged with neither; NaN without any."""
        baseline = next(other for other in self.entries if other.label == self.baseline)
        pairs = zip(entry.values(metric), baseline.values(metric), strict=True)
        kept = [pair for pair in pairs if not any(map(math.isnan, pair))]
        if not kept:
            return NO_INTERVAL
        own, others = zip(*kept, strict=True)
        return paired_difference(own, others)


def compare(plan: Plan, folder: Path, machine: Machine) -> Result:
    """Search, train, test; runs are below `folder`, and those that are there are not made again.

    Raises ValueError where every run has diverged, and where one cannot be made.
    """
    base = in_common(plan.base, plan.contenders)
    tried = _search(plan, base, folder, machine)
    chosen = [
        _best(found) if found else contender.loss for contender, found in zip(plan.contenders, tried, strict=True)
    ]
    seeds = [base.loop.seed + i for i in range(plan.seeds)]
    runs = [
        Run(folder / "runs", f"{contender.label}-seed-{seed}", _experiment(base, loss, seed=seed))
        for contender, loss in zip(plan.contenders, chosen, strict=True)
        for seed in seeds
    ]
    runs = sorted(runs, key=lambda run: run.experiment.loop.seed)  # after the first seed there is one of each
    folders = dict(zip((run.name for run in runs), finish(runs, machine), strict=True))
    entries = []
    for contender, loss, found in zip(plan.contenders, chosen, tried, strict=True):
        own = [folders[f"{contender.label}-seed-{seed}"] for seed in seeds]
        entries.append(_entry(contender, loss, found, own))
    results = [run.read_result() for run in folders.values() if run.diverged is None]
    if not results:
        raise ValueError(f"losses: found that all runs diverged, such as {entries[0].label}: {entries[0].diverged[0]}")
    facts = {name: results[0][name] for name in ("train_classes", "train_images", "test_classes", "test_images")}
    if plan.search:
        facts |= {"validation_share": plan.validation_share, "search_steps": plan.search_steps or base.loop.steps}
    costs = [cost for entry in entries for cost in entry.cost]
    for name in ("jobs", "threads", "device"):
        facts[name] = sorted({cost[name] for cost in costs if name in cost})
    environment = next(iter(folders.values())).read_json("environment.json")
    return Result(entries, plan.baseline_label, base, seeds, results[0]["raw_pixels"], environment, facts)


def _search(plan: Plan, base: Experiment, folder: Path, machine: Machine) -> list[list[tuple[LossConfig, float]]]:
    """Settings tried for each contender, with their MAP@R; none where there is nothing to choose."""
    steps = plan.search_steps or base.loop.steps
    runs: list[list[tuple[LossConfig, Run]]] = []
    for contender in plan.contenders:
        tried = candidates(contender, plan.search) if plan.search else []
        runs.append([])
        for number, loss in enumerate(tried if len(tried) > 1 else [], 1):
            experiment = _experiment(base, loss, seed=base.loop.seed, steps=steps)
            run = Run(folder / "search", f"{contender.label}-candidate-{number}", experiment, plan.validation_share)
            runs[-1].append((loss, run))
    finish([run for own in runs for _, run in own], machine)
    return [[(loss, _map_at_r(RunFolder(run.path))) for loss, run in own] for own in runs]


def _map_at_r(folder: RunFolder) -> float:
    found: float = math.nan if folder.diverged is not None else folder.read_result()["test"]["map@r"]
    return found


def _best(found: Sequence[tuple[LossConfig, float]]) -> LossConfig:
    """The first of equals, so rather the published one; NaN is below all numbers."""
    return max(found, key=lambda pair: -math.inf if math.isnan(pair[1]) else pair[1])[0]


def _interval(values: Sequence[float]) -> Interval:
    kept = [value for value in values if not math.isnan(value)]
    return mean_interval(kept) if kept else NO_INTERVAL


def _experiment(base: Experiment, loss: LossConfig, *, seed: int, steps: int | None = None) -> Experiment:
    return replace(base, loss=loss, loop=replace(base.loop, seed=seed, steps=steps or base.loop.steps))


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
    )
