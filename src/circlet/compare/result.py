"""What a comparison has found: entries of losses with their runs, beside what there is without any loss."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from circlet.compare.classes import ClassValues
from circlet.compare.statistics import Interval, mean_interval, paired_difference
from circlet.experiments import Experiment

# Shown of each task, the last one as the measure of difference; those that a run does not have are left out.
HEADLINES = ("recall@1", "r_precision", "rank-1", "mINP", "lfw", "cfp-fp", "agedb-30", "ytf", "ijb-c@1e-4", "megaface",
             "fnir@1e-2", "mAP (trapezoid)", "mAP", "map@r")  # fmt: skip


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


class Candidate(NamedTuple):
    """A setting that the search tried, and the MAP@R that it reached on validation classes; NaN: it diverged."""

    settings: str
    map_at_r: float


class Entry(NamedTuple):
    """A contender's part of the result; lists are by seed.

    settings and chosen_by say what was run and why; at_edge: a wider search might have chosen otherwise. test: metrics
    on the test classes. cost: cost.json, with train_seconds. loss_curve: (step, training loss). diverged: why a run has
    no metrics, else None. classes: what was found in each test class; empty where a run left none.
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
    classes: Sequence[ClassValues] = ()

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
    """A finished comparison. experiment: what all runs share (its loss is the recipe's, and was not used).

    frozen, closed_form: metrics of the pretrained network before any training, and with the closed form that heads
    start at; None where there is none. The same by classes of the test, where the task has such values.
    """

    entries: list[Entry]
    baseline: str
    experiment: Experiment
    seeds: list[int]
    raw_pixels: dict[str, float]
    environment: dict[str, Any]
    facts: dict[str, Any]
    frozen: dict[str, float] | None = None
    closed_form: dict[str, float] | None = None
    frozen_classes: ClassValues | None = None
    closed_form_classes: ClassValues | None = None

    @property
    def of_heads(self) -> bool:
        """Whether each run was that of a linear head on features of a frozen network."""
        return bool(self.experiment.transfer.stages)

    @property
    def steps(self) -> int:
        """Of each run."""
        return steps_of(self.experiment)

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


def steps_of(experiment: Experiment) -> int:
    """Steps of each run: of the head, where that is all that is trained."""
    return experiment.transfer.head.steps if experiment.transfer.stages else experiment.loop.steps


def _interval(values: Sequence[float]) -> Interval:
    kept = [value for value in values if not math.isnan(value)]
    return mean_interval(kept) if kept else NO_INTERVAL
