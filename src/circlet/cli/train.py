"""`circlet train`: a recipe, with any of its settings changed by flags, run in a folder of its own."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import tyro

from circlet.cli.common import choose_device
from circlet.cli.evaluate import result_text
from circlet.cli.flags import parse
from circlet.cli.resume import Resumed, goes_on, is_resume, parse_again, parse_resume
from circlet.data import Splits
from circlet.distributed import (
    is_rank_0,
    on_all_ranks,
    on_rank_0,
    process_group,
    raise_once,
    require_agreement,
    silence_other_ranks,
)
from circlet.experiments import (
    Experiment,
    build_loss,
    build_splits,
    check_task,
    next_folder,
    open_face_sets,
    require_same_training,
    resolved,
    splits_of,
    train,
)
from circlet.experiments.resuming import Change
from circlet.experiments.run import nothing_left
from circlet.recipes import RECIPES, find_recipe
from circlet.recipes.names import EXTENSIONS, OWN
from circlet.report import report_of
from circlet.terminal import printable
from circlet.training import RunFolder
from circlet.training.trackers import TRACKERS

DESCRIPTION = """Train an embedding, test it on unseen classes, write a report.

recipes (the first word; {default} if there is none):
{recipes}

and those of the paper's tables, which `circlet recipes` lists, such as circle-cub and
circle-r50-market. Your own is package.module:function.

examples:
  circlet train
  circlet train omniglot --root ../shared/data/omniglot
  circlet train folder --root photos
  circlet train folder --root photos --minutes 20
  circlet train vectors --root features.parquet
  circlet train folder --root photos --model.backbone efficientnet_lite2 --loss.name proxy_anchor
  circlet train folder --root photos --loss.name mypackage.losses:MyLoss --loss.gamma 32
  circlet train circle-cub --root CUB_200_2011 --model.weights bn_inception.pth
  circlet train --resume runs/folder-1
  torchrun --nproc-per-node 4 -m circlet train folder --root photos

--resume RUN goes on with an interrupted run, or trains a finished one for longer; circlet train --resume RUN --help
lists what may be changed of it: --steps, --minutes, --root and others.

Under torchrun each process takes a GPU (without GPUs: the CPU) and its share of every batch; loss, gradient and
schedule are those of one process. A run may go on with another number of processes. All must see the run folder.
With torchrun --max-restarts N, and with --go-on, a run that has begun in --run-dir goes on (examples/cluster)."""


@dataclass(frozen=True)
class TrainArguments:
    """Arguments of `circlet train`."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Run folder to make; by default runs/<recipe>-<number>."""
    go_on: bool = False
    """Go on with the run in --run-dir where one has begun there, else begin it: for a job that may be started again."""
    report: bool = True
    """Build the report at the end."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    timeout: float = 600.0
    """Seconds after which a process started by torchrun gives up on another that does not answer."""


def main(arguments: list[str]) -> None:
    """Train, test, report; on every rank that torchrun has started, of which the first speaks."""
    began = time.monotonic()
    with silence_other_ranks():
        parsed = raise_once(lambda: _told(arguments))
        given = parsed.arguments if isinstance(parsed, Resumed) else parsed
        device = raise_once(lambda: choose_device(given.device))
        with process_group(device, given.timeout):
            require_agreement(lambda: {"the run has begun": isinstance(parsed, Resumed)})  # as its own disk shows it
            if isinstance(parsed, Resumed):
                _go_on(parsed, device, began)
            else:
                _begin(parsed, device, began)


def _begin(parsed: TrainArguments, device: torch.device, began: float) -> None:
    experiment = on_all_ranks(lambda: resolved(parsed.experiment))
    on_all_ranks(lambda: build_loss(experiment.loss))
    # Before the folder: bad settings and missing data leave none behind.
    splits = _splits(experiment, partial(build_splits, experiment.data))
    config, asked = experiment.to_json(), parsed.run_dir
    folder = on_rank_0(lambda: RunFolder.create(asked or next_folder(experiment.folder_name), config))
    _say_if_from_nothing(experiment)
    with nothing_left(folder):
        _run(experiment, splits, folder, device, began, report=parsed.report)


def _go_on(parsed: Resumed, device: torch.device, began: float) -> None:
    experiment, folder = parsed.arguments.experiment, parsed.folder
    splits = _splits(experiment, partial(splits_of, folder, experiment, to_train=True))
    _run(experiment, splits, folder, device, began, report=parsed.arguments.report, changes=parsed.changes)


def _run(
    experiment: Experiment,
    splits: Splits,
    folder: RunFolder,
    device: torch.device,
    began: float,
    *,
    report: bool,
    changes: Mapping[str, Change] | None = None,
) -> None:
    print(f"run folder: {printable(str(folder.path))}", flush=True)
    outcome = train(experiment, splits, folder, device, began=began, changes=changes)
    if outcome is None:  # not on the first rank
        return
    path = report_of(outcome, folder, experiment) if report else None
    notes = "".join(f"\n{printable(note)}" for note in outcome.notes)
    print(f"\n{result_text(outcome)}\n{notes}" + (f"\nreport: {printable(str(path.resolve()))}" if path else ""))


def _splits(experiment: Experiment, find: Callable[[], Splits]) -> Splits:
    """The images; on rank 0 first, which may download them, and looks whether they can be tested as asked."""

    def found_on_rank_0() -> Splits:
        open_face_sets(experiment.faces)
        for name in experiment.loop.trackers:
            TRACKERS.find(name)
        splits = find()
        check_task(experiment.task, splits)
        return splits

    splits = on_all_ranks(lambda: found_on_rank_0() if is_rank_0() else None)
    own = on_all_ranks(lambda: splits or find())
    require_same_training(experiment, own.train)
    return own


def _told(arguments: list[str]) -> TrainArguments | Resumed:
    """The run to begin, or the one to go on with."""
    if is_resume(arguments):
        return parse_resume(arguments)
    parsed = _parse(arguments)
    if not goes_on(parsed.run_dir, asked=parsed.go_on):
        return parsed
    return parse_again(arguments, parsed.run_dir, parsed.experiment.names().values())


def _parse(arguments: list[str]) -> TrainArguments:
    given = bool(arguments) and not arguments[0].startswith("-")
    recipe = arguments[0] if given else next(iter(RECIPES))
    experiment = find_recipe(recipe)()
    prog, description = f"circlet train {recipe}", _description()
    return parse(TrainArguments, arguments[given:], experiment, prog=prog, description=description)


def _say_if_from_nothing(experiment: Experiment) -> None:
    """Note that the published weights, from which the paper's recipes start, were not given."""
    usual = RECIPES[experiment.recipe].chosen.get("model.weights") if experiment.recipe in RECIPES else None
    if usual and experiment.model.weights is None and not experiment.model.pretrained:
        print(f"model.weights: found none, training from random weights ({usual})")


def _description() -> str:
    listed = [*OWN, *map(find_recipe, EXTENSIONS.registered())]
    recipes = "\n".join(f"  {recipe.name:<12} {recipe.summary}" for recipe in listed)
    return DESCRIPTION.format(default=next(iter(RECIPES)), recipes=recipes)
