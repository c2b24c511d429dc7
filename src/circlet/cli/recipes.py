"""`circlet recipes`: the recipes, the paper's figures beside those of your own runs, and where each setting is from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from circlet.recipes import RECIPES, Experiment, find_recipe
from circlet.recipes.recipe import leaves
from circlet.train import RunFolder

DESCRIPTION = """Recipes of circlet train: characters, your own images, and the rows of the paper's tables.

The list has the paper's figures in percent, and those of your finished runs below --runs: what a run found itself, and
what it lacks of its last circlet evaluate, if that was tested alike (not re-ranked, for one, where the run was not).

examples:
  circlet recipes                                list them
  circlet recipes list --runs /data/runs
  circlet recipes show circle-cub                every setting, stated in the paper or chosen, and its source"""
# Settings that say where things lie and how fast it goes, not what is found.
PLACES = ("data.root", "data.workers", "data.in_memory", "model.weights", "loop.log_every", "loop.checkpoint_every")


@dataclass(frozen=True)
class ListArguments:
    """List the recipes."""

    runs: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("runs")
    """Folder of your run folders."""


@dataclass(frozen=True)
class ShowArguments:
    """Show every setting of a recipe, and where it is from."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """A recipe of `circlet recipes`."""


@dataclass(frozen=True)
class Run:
    """A finished run of a recipe.

    test: its metrics, as fractions, and those that `circlet evaluate` has added. changed: names of the settings that
    differ.
    """

    path: Path
    recipe: str
    test: Mapping[str, float]
    changed: tuple[str, ...]


def main(arguments: list[str]) -> None:
    """List or show."""
    told = tyro.cli(
        Annotated[ListArguments, tyro.conf.subcommand("list")] | Annotated[ShowArguments, tyro.conf.subcommand("show")],
        args=arguments or ["list"],
        prog="circlet recipes",
        description=DESCRIPTION,
    )
    print(show(told.name) if isinstance(told, ShowArguments) else listing(told.runs))


def listing(runs: Path) -> str:
    """The recipes as aligned text, with the paper's figures and those of the runs below `runs`."""
    finished = list(finished_runs(runs))
    width = max(map(len, RECIPES))
    lines = []
    for name, recipe in RECIPES.items():
        table = f" ({recipe.table})" if recipe.table else ""
        lines.append(f"{name:<{width}}  {recipe().task:<9}  {recipe.summary}{table}")
        rows = {"paper": _percent(recipe.figures)} if recipe.figures else {}
        for run in finished:
            if run.recipe == name:
                wanted = recipe.figures or run.test
                measured = {metric: 100 * run.test[metric] for metric in wanted if metric in run.test}
                changed = f"; changed: {', '.join(run.changed)}" if run.changed else ""
                rows[str(run.path)] = _percent(measured) + changed
        lines += [f"{'':<{width}}  {who}: {text}" for who, text in rows.items()]
    return "\n".join(lines)


def show(name: str) -> str:
    """All about one recipe; ValueError for an unknown name."""
    recipe = find_recipe(name)
    settings = recipe.settings()
    texts = [str(setting.value) for setting in settings]
    widths = max(len(setting.name) for setting in settings), max(map(len, texts))
    lines = [
        f"{setting.name:<{widths[0]}}  {text:<{widths[1]}}  {setting.origin}: {setting.source}"
        for setting, text in zip(settings, texts, strict=True)
    ]
    head = f"{recipe.summary}\n"
    if recipe.figures:
        head += f"the paper's {recipe.table}, in percent: {_percent(recipe.figures)}\n"
    return head + "\n" + "\n".join(lines)


def finished_runs(root: Path) -> Iterator[Run]:
    """The finished runs of our recipes in `root`, by name; other folders are passed over."""
    for result in sorted(root.glob("*/result.json")):
        try:
            folder = RunFolder.open(result.parent)
            experiment = Experiment.from_json(folder.read_json("config.json"))
            test = _numbers(folder.read_json(result.name))
        except (OSError, ValueError, KeyError):  # cut off, of a search, of another version, or somebody else's
            continue
        if experiment.recipe in RECIPES:
            yield Run(folder.path, experiment.recipe, {**_evaluated(folder, experiment), **test}, _changed(experiment))


def _evaluated(folder: RunFolder, run: Experiment) -> dict[str, float]:
    """Metrics of the last `circlet evaluate`; none if it was another test than the run's, under the same names."""
    try:
        content = folder.read_json("evaluation.json")
        found, metrics = Experiment.from_json(content["config"]), _numbers(content)
    except (OSError, ValueError, KeyError):
        return {}
    test = replace(found.test, average_precision=run.test.average_precision, far_mode=run.test.far_mode)  # named apart
    return metrics if replace(found, test=test, faces=run.faces) == run else {}


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a result that are numbers: JSON has null for what is none."""
    return {name: value for name, value in content["test"].items() if value is not None}


def _changed(experiment: Experiment) -> tuple[str, ...]:
    """Names of the settings that are not the recipe's, but for places and speed."""
    own, recipe = leaves(experiment.to_json()), leaves(RECIPES[experiment.recipe]().to_json())
    return tuple(n for n in own if own[n] != recipe[n] and n not in PLACES and not n.startswith("faces."))


def _percent(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{metric} {round(value, 2):g}" for metric, value in figures.items())
