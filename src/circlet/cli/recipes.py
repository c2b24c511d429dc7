"""`circlet recipes`: the recipes, the paper's figures beside those of your own runs, and where each setting is from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.losses import all_losses, find_loss
from circlet.losses.catalogue import EXTENSIONS as LOSSES
from circlet.losses.table import markdown, row
from circlet.recipes import RECIPES, find_recipe
from circlet.recipes.names import EXTENSIONS
from circlet.recipes.results import finished_runs
from circlet.terminal import printable

DESCRIPTION = """Recipes of circlet train: characters, your own images, and the rows of the paper's tables.

The list has the paper's figures in percent, and those of your finished runs below --runs: what a run found itself, and
what it lacks of its last circlet evaluate, if that was tested alike (not re-ranked, for one, where the run was not).

examples:
  circlet recipes                                list them
  circlet recipes list --runs /data/runs
  circlet recipes show circle-cub                every setting, stated in the paper or chosen, and its source
  circlet recipes losses                         the losses that --loss.name takes, and their numbers"""


@dataclass(frozen=True)
class ListArguments:
    """List the recipes."""

    runs: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("runs")
    """Folder of your run folders."""


@dataclass(frozen=True)
class LossesArguments:
    """List the losses: what each is made of, its numbers, what it is usually compared with."""

    markdown: bool = False
    """As a Markdown table."""


@dataclass(frozen=True)
class ShowArguments:
    """Show every setting of a recipe, and where it is from."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """A recipe of `circlet recipes`."""


def main(arguments: list[str]) -> None:
    """List or show."""
    parsed = tyro.cli(
        Annotated[ListArguments, tyro.conf.subcommand("list")]
        | Annotated[ShowArguments, tyro.conf.subcommand("show")]
        | Annotated[LossesArguments, tyro.conf.subcommand("losses")],
        args=arguments or ["list"],
        prog="circlet recipes",
        description=DESCRIPTION,
    )
    if isinstance(parsed, ShowArguments):
        print(show(parsed.name))
    elif isinstance(parsed, LossesArguments):
        names = [*all_losses(), *LOSSES.registered()]
        print(markdown([find_loss(name) for name in names]) if parsed.markdown else losses_text(names))
    else:
        print(listing(parsed.runs))


def losses_text(names: Sequence[str]) -> str:
    """The losses with their numbers, a paragraph each."""
    paragraphs = []
    for name in names:
        loss = find_loss(name)
        made = row(loss)
        lines = [f"{name}: {(loss.__doc__ or loss.title).splitlines()[0]}"]
        lines.append(f"  {made.rule} on {made.similarity}; {made.statistics}; {made.aggregate}; {made.computed}; "
                     f"usually compared with {made.level}")  # fmt: skip
        for number, parameter in loss.declared.items():
            lines.append(f"  --loss.{number} {parameter.default:g}  {parameter.text} ({parameter.expected()})")
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


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
                rows[printable(str(run.path))] = printable(_percent(measured) + changed)
        lines += [f"{'':<{width}}  {who}: {text}" for who, text in rows.items()]
    lines += [f"{name:<{width}}  of an installed package: {place}" for name, place in EXTENSIONS.registered().items()]
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


def _percent(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{metric} {round(value, 2):g}" for metric, value in figures.items())
