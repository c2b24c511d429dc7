"""The finished runs of recipes: what they found, and which settings were changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circlet.experiments import Experiment, settings_of
from circlet.experiments.leaves import PLACES, leaves
from circlet.recipes.names import RECIPES
from circlet.training import RunFolder

# Where things lie and how fast it goes, not what is found.
_HOW = ("log_every", "checkpoint_every", "fsdp", "grad_checkpointing", "compile")
_APART = frozenset({*PLACES, *(f"loop.{name}" for name in _HOW)})
# Settings of a test under which its metrics have names of their own.
_NAMED_APART = frozenset({"test.average_precision", "test.far_mode"})


@dataclass(frozen=True)
class FinishedRun:
    """A finished run of a recipe.

    test: its metrics, as fractions, and those that `circlet evaluate` has added. changed: names of the settings that
    differ.
    """

    path: Path
    recipe: str
    test: Mapping[str, float]
    changed: tuple[str, ...]


def finished_runs(root: Path) -> Iterator[FinishedRun]:
    """The finished runs of our recipes in `root`, by name; other folders are passed over."""
    for result in sorted(root.glob("*/result.json")):
        try:
            folder = RunFolder.open(result.parent)
            experiment = settings_of(folder)
            test = _numbers(folder.read_json(result.name))
        except (OSError, ValueError, KeyError):  # cut off, of a search, of another version, or somebody else's
            continue
        if experiment.recipe in RECIPES:
            yield FinishedRun(
                folder.path, experiment.recipe, {**_evaluated(folder, experiment), **test}, _changed(experiment)
            )


def _evaluated(folder: RunFolder, run: Experiment) -> dict[str, float]:
    """Metrics of the last `circlet evaluate`; none if it was another test than the run's, under the same names."""
    try:
        found, metrics = settings_of(folder, "evaluation.json"), _numbers(folder.read_json("evaluation.json"))
    except (OSError, ValueError, KeyError):
        return {}
    return metrics if _differences(found, run) <= _NAMED_APART else {}


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a result that are numbers: JSON has null for what is none."""
    return {name: value for name, value in content["test"].items() if value is not None}


def _changed(experiment: Experiment) -> tuple[str, ...]:
    """Names of the settings that are not the recipe's, but for places and speed."""
    different = _differences(experiment, RECIPES[experiment.recipe]())
    return tuple(name for name in leaves(experiment.to_json()) if name in different)


def _differences(one: Experiment, two: Experiment) -> set[str]:
    """Names of the settings that are not alike, but for places and speed."""
    first, second = leaves(one.to_json()), leaves(two.to_json())
    return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)} - _APART
