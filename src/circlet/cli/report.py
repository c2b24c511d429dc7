"""`circlet report`: build the report of a finished run again, from its folder and its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor

from circlet.analyse import read_trace
from circlet.cli.common import choose_device
from circlet.data import ImageSet, load_test_set
from circlet.files import write_text
from circlet.models import embed_test_set
from circlet.recipes import Experiment, build_loss, build_splits, load_run
from circlet.report import Embedded, ReportData, build_report
from circlet.train import RunFolder

DESCRIPTION = """Build the report of a finished run again: report.html in its folder.

The test images are embedded anew with the run's checkpoint; its metrics are those that it wrote. Runs of circlet
compare (in runs/ of its folder) and of circlet figure have a report in this way too.

examples:
  circlet report runs/omniglot-1
  circlet report runs/folder-1 --out report.html"""


@dataclass(frozen=True)
class ReportArguments:
    """What `circlet report` is told."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write; by default report.html in the run folder."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Load, embed, write."""
    told = tyro.cli(ReportArguments, args=arguments, prog="circlet report", description=DESCRIPTION)
    device = choose_device(told.device)
    folder = RunFolder.open(told.run)
    if folder.diverged is not None:
        raise ValueError(f"{folder.path}: found a run that diverged ({folder.diverged}), expected a finished run")
    if not (folder.path / "result.json").is_file():
        raise FileNotFoundError(f"{folder.path}: no result.json in it; expected a finished run (to finish it: circlet "
                                f"train --resume {folder.path})")  # fmt: skip
    result = folder.read_result()
    experiment, model = load_run(told.run, device)
    test_set = load_test_set(build_splits(experiment.data), experiment.data.decoding)
    query, gallery = test_set.query, test_set.gallery
    embedded = embed_test_set(model, query, gallery, experiment.view, device)
    rows = {"raw pixels": result["raw_pixels"], "embedding": result["test"]}
    images = query.images, None if gallery is None else gallery.images
    print(f"report: {write_report(folder, experiment, rows, images, embedded, told.out).resolve()}")


def write_report(
    folder: RunFolder,
    experiment: Experiment,
    metrics: Mapping[str, Mapping[str, float]],
    images: tuple[ImageSet, ImageSet | None],
    embedded: tuple[Tensor, Tensor | None],
    out: Path | None = None,
) -> Path:
    """Write the page of a run into its folder, or to `out`; its path.

    metrics: rows of the headline table by name. images, embedded: query and gallery (None: the other queries).
    """
    path = folder.path / "report.html" if out is None else out
    try:
        trace = read_trace(folder.path)
    except FileNotFoundError:  # a run without telemetry
        trace = []
    page = build_report(
        ReportData(
            title=f"{experiment.recipe}: {experiment.loss.name} loss",
            metrics=metrics,
            query=images[0],
            gallery=images[1],
            embedded=Embedded(*embedded),
            log=folder.read_metrics(),
            trace=trace,
            loss=build_loss(experiment.loss),
            reid=experiment.task == "reid",
            sampled=_sampled(experiment),
            details={"Settings": experiment.to_json(), "Environment": folder.read_json("environment.json")},
        )
    )
    write_text(path, page)
    return path


def _sampled(experiment: Experiment) -> str:
    """What telemetry sees of class weights that need not be all that the loss saw."""
    if experiment.loss.level == "pair":
        return ""
    text = "Over several ranks they are those of the first: its part of the batch and of the class weights."
    if experiment.loss.sample < 1:
        text += (
            f" The loss compared with {experiment.loss.sample:.0%} of the class weights at a step; here they are all "
            "counted, so the hardest negatives are harder and the gradients on negatives larger than in training."
        )
    return text
