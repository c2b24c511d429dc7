"""`circlet figure`: the paper's figures, by autograd or from runs made for them, and the interactive explorer."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from circlet.analyse import figure_1, figure_2, figure_3, figure_4, figure_5, read_trace
from circlet.analyse.plane_figures import describe
from circlet.cli.common import Trust, choose_device
from circlet.experiments import Experiment, LossConfig, build_loss, changed, experiment_of, open_run
from circlet.experiments.experiment import at_level
from circlet.experiments.loss import parse_loss
from circlet.experiments.series import (
    describe_runs,
    finish,
    metric_names,
    with_loss,
)
from circlet.files import write_atomically
from circlet.losses import Level, find_loss
from circlet.recipes import RECIPES, find_recipe
from circlet.report.explorer import build_explorer
from circlet.terminal import printable
from circlet.training import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DESCRIPTION = """Draw a figure of the paper: 1 decision boundaries, 2 gradients, 3 a metric against gamma and margin,
4 similarities over training, 5 where anchors cross the boundary; or write the explorer, an interactive page.

1, 2 and the explorer compute from the losses alone. 3, 4 and 5 train: each run has a folder of its own below
--run-dir, so that an interrupted figure goes on where it was, and finished runs are read, not run again.

A loss is written as its name, with settings if they are not its own defaults: circle, circle:margin=0.4:gamma=80.

examples:
  circlet figure 1 --out boundaries.svg
  circlet figure 2 --losses triplet arcface circle:gamma=64
  circlet figure 3 --gammas 16 64 256 --margins 0 0.25 0.4 --steps 200
  circlet figure 4 --recipe omniglot --root omniglot --level pair
  circlet figure 5 --of runs/glyphs-1
  circlet figure explorer"""

Out = Annotated[Path, tyro.conf.arg(metavar="PATH.png|.svg|.pdf")]
Losses = Annotated[tuple[str, ...], tyro.conf.arg(metavar="LOSS ...")]


@dataclass(frozen=True)
class Boundaries:
    """Figure 1: a linear and the circular decision boundary, with the pull on three points."""

    out: Out = Path("figure-1.png")
    """File to write."""


@dataclass(frozen=True)
class Gradients:
    """Figure 2: gradients over the plane of similarities."""

    out: Out = Path("figure-2.png")
    """File to write."""
    losses: Losses = ("triplet", "am_softmax", "circle")
    """Any losses of the family."""
    points: int = 41
    """Points along each axis."""


@dataclass(frozen=True)
class _Runs:
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = next(iter(RECIPES))
    """A recipe of circlet train, of which only the loss (and what its level needs) is changed."""
    root: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Where the recipe's data are."""
    images: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Manifest: the folder that its paths start from and must stay below; by default the manifest's own."""
    level: Level | None = None
    """pair: the other samples of the batch; class: class weights, as in the paper; joint: both; by default the
    recipe's."""
    steps: int | None = None
    """Steps of each run; by default the recipe's."""
    seed: int = 0
    """Seed of the runs."""
    run_dir: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("runs/figures")
    """Folder of the run folders."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


@dataclass(frozen=True)
class Sweeps(_Runs):
    """Figure 3: a metric on unseen classes against gamma and against the margin."""

    out: Out = Path("figure-3.png")
    """File to write."""
    losses: Losses = ("circle", "am_softmax", "arcface")
    """Losses with a gamma or a margin; what is not swept stays as given here."""
    gammas: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
    """Values of gamma; none: no such sweep."""
    margins: tuple[float, ...] = (-0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
    """Values of the margin (radians for arcface, which takes none below 0); none: no such sweep."""
    metric: str | None = None
    """Metric on the test classes; by default recall@1, or rank-1 for re-ID."""


@dataclass(frozen=True)
class _Convergence(_Runs):
    of: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN ...")] = ()
    """Plot these runs of circlet train, and train nothing."""
    trust: Trust = ()
    """Names (package.module:name) in the settings of these runs that may be imported."""
    losses: Losses = ()
    """A run for each."""
    log_every: int = 5
    """Steps between looks at the batch; a look takes about as long as 1 to 20 % of a step."""


@dataclass(frozen=True)
class Similarities(_Convergence):
    """Figure 4: mean similarity of positives and negatives over training."""

    out: Out = Path("figure-4.png")
    """File to write."""
    losses: Losses = ("circle", "am_softmax")
    """A run for each."""


@dataclass(frozen=True)
class Crossings(_Convergence):
    """Figure 5: where anchors cross the decision boundary, and where they end."""

    out: Out = Path("figure-5.png")
    """File to write."""
    losses: Losses = ("am_softmax:margin=0.35", "circle:margin=0.325", "circle:margin=0.25")
    """A run for each."""


@dataclass(frozen=True)
class Explorer:
    """An HTML page: drag a pair of similarities about and see loss, weights, gradients and descent."""

    out: Annotated[Path, tyro.conf.arg(metavar="PATH.html")] = Path("explorer.html")
    """File to write."""


Figures = (
    Annotated[Boundaries, tyro.conf.subcommand("1")]
    | Annotated[Gradients, tyro.conf.subcommand("2")]
    | Annotated[Sweeps, tyro.conf.subcommand("3")]
    | Annotated[Similarities, tyro.conf.subcommand("4")]
    | Annotated[Crossings, tyro.conf.subcommand("5")]
    | Annotated[Explorer, tyro.conf.subcommand("explorer")]
)


def main(arguments: list[str]) -> None:
    """Compute or train, draw, write."""
    parsed: Any = tyro.cli(Figures, args=arguments, prog="circlet figure", description=DESCRIPTION)
    suffixes = (".html",) if isinstance(parsed, Explorer) else (".png", ".svg", ".pdf")
    if parsed.out.suffix not in suffixes:
        raise ValueError(f"out: found {parsed.out}, expected a file name that ends in {', '.join(suffixes)}")
    content = build_explorer().encode() if isinstance(parsed, Explorer) else _drawn(parsed)
    parsed.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(parsed.out, lambda file: file.write(content))
    print(f"figure: {printable(str(parsed.out.resolve()))}")


def _drawn(parsed: Any) -> bytes:
    buffer = io.BytesIO()
    _DRAW[type(parsed)](parsed).savefig(buffer, format=parsed.out.suffix[1:], dpi=150)
    return buffer.getvalue()


def _boundaries(parsed: Boundaries) -> "Figure":
    return figure_1()


def _gradients(parsed: Gradients) -> "Figure":
    return figure_2({text: build_loss(parse_loss(text).config) for text in parsed.losses}, points=parsed.points)


def _sweeps(parsed: Sweeps) -> "Figure":
    base = _base(parsed)
    known = metric_names(base)
    metric = known[0] if parsed.metric is None else parsed.metric
    if metric not in known:
        raise ValueError(f"metric: found {metric!r}, expected one of {', '.join(known)}")
    runs: dict[str, dict[tuple[str, float], Experiment]] = {"gamma": {}, "margin": {}}
    losses = [parse_loss(text).config for text in parsed.losses]
    for name, values in (("gamma", parsed.gammas), ("margin", parsed.margins)):
        having = [loss for loss in losses if name in loss.numbers]
        for value in values:
            fitting = [loss for loss in having if find_loss(loss.name).declared[name].allows(value)]
            for loss in fitting or having:  # where none may have the value the first says so
                changed_loss = loss.with_numbers({**loss.numbers, name: value})
                build_loss(changed_loss)
                runs[name][_line(loss, without=name), value] = with_loss(base, changed_loss)
    experiments = [experiment for sweep in runs.values() for experiment in sweep.values()]
    if not experiments:
        raise ValueError("losses, gammas, margins: found nothing to sweep, expected a loss with a gamma or a margin")
    folders = iter(finish(experiments, parsed.run_dir, choose_device(parsed.device)))
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {"gamma": {}, "margin": {}}
    for name, sweep in runs.items():
        for line, value in sweep:
            folder = next(folders)
            measured = {metric: math.nan} if folder.diverged is not None else folder.read_result()["test"]
            if metric not in measured:
                raise ValueError(f"metric: found {metric!r}, expected one of {', '.join(measured)}")
            lines[name].setdefault(line, []).append((value, measured[metric]))
    return figure_3(lines["gamma"], lines["margin"], metric=metric, data=describe_runs([base]))


def _similarities(parsed: Similarities) -> "Figure":
    folders = _observed(parsed)
    runs = [experiment_of(folder, parsed.trust) for folder in folders]
    logs = {}
    for folder, run in zip(folders, runs, strict=True):
        name, lines = describe(build_loss(run.loss)), folder.read_metrics()
        if folder.diverged is not None:
            name += " (diverged)"
            if not any("s_p" in line for line in lines):
                print(f"{name} is not drawn: {printable(str(folder.path))} has no telemetry from before")
                continue
        logs[name] = lines
    return figure_4(logs, data=describe_runs(runs))


def _crossings(parsed: Crossings) -> "Figure":
    folders = _observed(parsed)
    for folder in folders:
        if folder.diverged is not None:
            raise ValueError(f"{folder.path}: the run diverged and has no end to show ({folder.diverged}); expected "
                             "--losses or --of without it")  # fmt: skip
    runs = [experiment_of(folder, parsed.trust) for folder in folders]
    traces = [read_trace(folder.path) for folder in folders]
    losses = [build_loss(run.loss) for run in runs]
    return figure_5(list(zip(losses, traces, strict=True)), data=describe_runs(runs))


def _observed(parsed: _Convergence) -> list[RunFolder]:
    if parsed.of:
        return [open_run(path, parsed.trust)[0] for path in parsed.of]
    base = _base(parsed)
    base = replace(base, loop=replace(base.loop, log_every=parsed.log_every))
    experiments = [with_loss(base, parse_loss(text).config) for text in parsed.losses]
    return finish(experiments, parsed.run_dir, choose_device(parsed.device))


def _base(parsed: Any) -> Experiment:
    """The recipe with the settings that the figure's flags change."""
    recipe = find_recipe(parsed.recipe)
    base = recipe(images=parsed.images, seed=parsed.seed)
    base = changed(base, root=parsed.root) if parsed.root is not None else base
    base = changed(base, steps=parsed.steps) if parsed.steps is not None else base
    return base if parsed.level is None else at_level(base, parsed.level)


def _line(loss: LossConfig, *, without: str) -> str:
    symbol, name = {"gamma": ("m", "margin"), "margin": ("γ", "gamma")}[without]
    fixed = loss.numbers.get(name)
    return loss.name if fixed is None else f"{loss.name}, {symbol} = {fixed:g}"


_DRAW: dict[type, Callable[[Any], "Figure"]] = {
    Boundaries: _boundaries,
    Gradients: _gradients,
    Sweeps: _sweeps,
    Similarities: _similarities,
    Crossings: _crossings,
}
