"""`circlet train`: a recipe, with any of its settings changed by flags, run in a folder of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from circlet.cli.common import choose_device, table
from circlet.recipes import RECIPES, Experiment, build_loss, build_splits, train
from circlet.report import build_page
from circlet.train import RunFolder, write_atomically

DESCRIPTION = """Train an embedding, test it on unseen classes, write a report.

recipes (the first word; {default} if there is none):
{recipes}

examples:
  circlet train
  circlet train omniglot --root ../shared/data/omniglot
  circlet train folder --root photos --loss.name triplet --steps 1000
  circlet train --resume runs/folder-1"""


@dataclass(frozen=True)
class TrainArguments:
    """What `circlet train` is told."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Run folder to make; by default runs/<recipe>-<number>."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


@dataclass(frozen=True)
class ResumeArguments:
    """Go on with an interrupted run, with its own settings."""

    resume: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Run folder to go on with."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Train, test, report."""
    if any(argument.split("=")[0] == "--resume" for argument in arguments):
        resumed = tyro.cli(ResumeArguments, args=arguments, prog="circlet train")
        folder = RunFolder.open(resumed.resume)
        experiment = Experiment.from_json(folder.read_json("config.json"))
        device = choose_device(resumed.device)
        splits = build_splits(experiment.data)
    else:
        told = _parse(arguments)
        experiment = told.experiment
        device = choose_device(told.device)
        build_loss(experiment.loss)
        splits = build_splits(experiment.data)  # before the folder: bad settings and missing data leave none behind
        folder = RunFolder.create(told.run_dir or _next_folder(experiment.recipe), experiment.to_json())
    print(f"run folder: {folder.path}", flush=True)
    outcome = train(experiment, splits, folder, device)
    rows = {"raw pixels": outcome.raw_pixels, "embedding": outcome.metrics}
    test_set = outcome.test_set
    gallery = None if test_set.gallery is None else test_set.gallery.images
    page = build_page(
        f"{experiment.recipe}: {experiment.loss.name} loss",
        rows,
        folder.read_metrics(),
        test_set.query.images,
        gallery,
        outcome.embedded,
        {"Settings": experiment.to_json(), "Environment": folder.read_json("environment.json")},
    )
    write_atomically(folder.path / "report.html", lambda file: file.write(page.encode()))
    classes = test_set.query.images.num_classes
    print(f"\n{classes} unseen classes, {len(test_set.query.images)} queries\n{table(rows)}")
    print(f"\nreport: {(folder.path / 'report.html').resolve()}")


def _parse(arguments: list[str]) -> TrainArguments:
    given = bool(arguments) and not arguments[0].startswith("-")
    recipe = arguments[0] if given else next(iter(RECIPES))
    if recipe not in RECIPES:
        raise ValueError(f"recipe: found {recipe!r}, expected one of {', '.join(RECIPES)}")
    return tyro.cli(
        TrainArguments,
        args=arguments[given:],
        prog=f"circlet train {recipe}",
        description=_description(),
        default=TrainArguments(RECIPES[recipe]()),
    )


def _next_folder(recipe: str) -> Path:
    number = 1
    while (path := Path("runs") / f"{recipe}-{number}").exists():
        number += 1
    return path


def _description() -> str:
    recipes = "\n".join(f"  {name:<10} {(recipe.__doc__ or '').splitlines()[0]}" for name, recipe in RECIPES.items())
    return DESCRIPTION.format(default=next(iter(RECIPES)), recipes=recipes)
