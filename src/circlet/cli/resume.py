"""Arguments of `circlet train --resume`, and of a job that is started again: a run folder, and what changes.

Every flag of the run is understood, --run-dir too, so that the command line which began it may be repeated; those that
may not change it are refused where they do (`circlet.experiments.resuming`). --help lists those that may.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, TypeGuard

import tyro

from circlet.cli.common import Trust
from circlet.cli.flags import parse
from circlet.experiments import Experiment, open_run
from circlet.experiments.resuming import Change, changes, may_change
from circlet.terminal import printable
from circlet.training import RunFolder

DESCRIPTION = """Go on with an interrupted run as if nothing had happened; or with changed settings, or for longer.

What is listed here may change; what would make the run neither the one nor the other is refused by name. The run's own
settings are the defaults. resumed.json in the run folder notes what was changed, after which step.

--steps counts from the start of the run, so a finished run of 300 steps is trained for 200 more with --steps 500; a
smaller number ends it earlier. The learning rate goes on as in a run that had that length from its start: where that is
longer, it rises from what the end of the shorter run had brought it down to. So it is with --minutes and --loop.seconds
too: what the network's training took before the interruption counts, the stages on frozen features do not. Until a run
has reached its new length, it has no result.

A run in stages (folder, manifest, individuals) goes through its stages on frozen features again, from what is kept of
them; --minutes and --steps lengthen the training of its network, or add it where there was none.

examples:
  circlet train --resume runs/folder-1
  circlet train --resume runs/folder-1 --minutes 40
  circlet train --resume runs/glyphs-1 --steps 500
  circlet train --resume runs/folder-1 --root /new/place/photos --data.workers 0 --device cpu"""


@dataclass(frozen=True)
class ResumeArguments:
    """Arguments of `circlet train --resume`."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    resume: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Run folder to go on with."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """The same again, as it was given to begin the run."""
    go_on: bool = False
    """The same again."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    report: bool = True
    """Build the report at the end."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    timeout: float = 600.0
    """Seconds after which a process started by torchrun gives up on another that does not answer."""


@dataclass(frozen=True)
class _Which:
    """What decides which flags there are."""

    resume: Path
    trust: tuple[str, ...] = ()


class Resumed(NamedTuple):
    """A run that goes on: its folder, its arguments with the settings as they are now, and what of them is new."""

    folder: RunFolder
    arguments: ResumeArguments
    changes: Mapping[str, Change]


def is_resume(arguments: list[str]) -> bool:
    """Whether a run is to go on."""
    return any(argument.split("=")[0] == "--resume" for argument in arguments)


def goes_on(run_dir: Path | None, *, asked: bool) -> TypeGuard[Path]:
    """Whether a start that was given `run_dir` goes on with the run that has begun there; `asked`: it may.

    So it may where torchrun starts processes again, all of them or those of a host that was lost, which then count no
    restart. ValueError without a `run_dir`: a restart would begin another run.
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if run_dir is None and (asked or restarts):
        given = "--go-on" if asked else "torchrun --max-restarts"
        raise ValueError(f"--run-dir: found none with {given}, expected one: the next start goes on with the run in it")
    return run_dir is not None and (asked or restarts) and (run_dir / "config.json").is_file()


def parse_again(arguments: list[str], run_dir: Path, trust: Collection[str]) -> Resumed:
    """As `parse_resume`, of the command line that began the run; `trust`: names that it gives, or its recipe."""
    given = bool(arguments) and not arguments[0].startswith("-")
    return parse_resume([*arguments[:given], "--resume", str(run_dir), *arguments[given:]], trust)


def parse_resume(arguments: list[str], trust: Collection[str] = ()) -> Resumed:
    """The run and its changes; ValueError where there is no such run, and for a setting that it cannot change.

    trust: names that may be imported, beside those of --trust.
    """
    recipe = arguments[0] if not arguments[0].startswith("-") else None
    rest = arguments[recipe is not None :]
    which, _ = tyro.cli(_Which, args=rest, prog="circlet train", add_help=False, return_unknown_args=True)
    try:
        folder, before = open_run(which.resume, (*which.trust, *trust))
    except OSError as error:  # which every rank meets, and one tells
        raise ValueError(str(error)) from error
    if recipe not in (None, before.recipe):
        raise ValueError(f"recipe: found {recipe} for a run of {before.recipe}, expected that one or none (--resume)")
    prog = f"circlet train --resume {printable(str(which.resume))}"
    listed = may_change(before) - {"transfer.stages"}  # --steps and --minutes add to them
    found = parse(ResumeArguments, rest, before, prog=prog, description=DESCRIPTION, listed=listed,
                  resume=which.resume)  # fmt: skip
    if found.run_dir is not None and found.run_dir.resolve() != which.resume.resolve():
        raise ValueError(f"--run-dir: found {found.run_dir} for the run in {which.resume}, expected that folder or "
                         "none: a run goes on where it is (--resume)")  # fmt: skip
    return Resumed(folder, found, changes(before, found.experiment))
