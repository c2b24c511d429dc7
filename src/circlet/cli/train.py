"""`circlet train`: a recipe, with any of its settings changed by flags, run in a folder of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from circlet.cli.common import choose_device, table
from circlet.data import Splits
from circlet.recipes import RECIPES, Experiment, build_loss, build_splits, train
from circlet.report import build_page
from circlet.train import RunFolder, alike, first_speaks, is_first, on_first, process_group, together, write_atomically

DESCRIPTION = """Train an embedding, test it on unseen classes, write a report.

recipes (the first word; {default} if there is none):
{recipes}

examples:
  circlet train
  circlet train omniglot --root ../shared/data/omniglot
  circlet train folder --root photos --loss.name triplet --steps 1000
  circlet train --resume runs/folder-1
  torchrun --nproc-per-node 4 -m circlet train folder --root photos

Under torchrun each process takes a GPU (without GPUs: the CPU) and its share of every batch; loss, gradient and
schedule are those of one process. A run may go on with another number of processes. All must see the run folder."""


@dataclass(frozen=True)
class TrainArguments:
    """What `circlet train` is told."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Run folder to make; by default runs/<recipe>-<number>."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    timeout: float = 600.0
    """Seconds after which a process started by torchrun gives up on another that does not answer."""


@dataclass(frozen=True)
class ResumeArguments:
    """Go on with an interrupted run, with its own settings."""

    resume: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Run folder to go on with."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    timeout: float = 600.0
    """Seconds after which a process started by torchrun gives up on another that does not answer."""


def main(arguments: list[str]) -> None:
    """Train, test, report; on every rank that torchrun has started, of which the first speaks."""
    with first_speaks():
        told = alike(lambda: _parse(arguments))
        device = alike(lambda: choose_device(told.device))
        with process_group(device, told.timeout):
            _run(told, device)


def _run(told: TrainArguments | ResumeArguments, device: torch.device) -> None:
    if isinstance(told, ResumeArguments):
        folder = together(lambda: RunFolder.open(told.resume))
        experiment = together(lambda: Experiment.from_json(folder.read_json("config.json")))
        splits = _splits(experiment)
    else:
        experiment = told.experiment
        together(lambda: build_loss(experiment.loss))
        splits = _splits(experiment)  # before the folder: bad settings and missing data leave none behind
        config, asked = experiment.to_json(), told.run_dir
        folder = on_first(lambda: RunFolder.create(asked or _next_folder(experiment.recipe), config))
    print(f"run folder: {folder.path}", flush=True)
    outcome = train(experiment, splits, folder, device)
    if outcome is None:  # not on the first rank
        return
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


def _splits(experiment: Experiment) -> Splits:
    """The images; on rank 0 first, which may download them."""
    splits = together(lambda: build_splits(experiment.data) if is_first() else None)
    return together(lambda: splits or build_splits(experiment.data))


def _parse(arguments: list[str]) -> TrainArguments | ResumeArguments:
    if any(argument.split("=")[0] == "--resume" for argument in arguments):
        return tyro.cli(ResumeArguments, args=arguments, prog="circlet train")
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
