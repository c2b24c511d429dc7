"""The report of a run, from its folder and its images."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circlet.analyse import read_trace
from circlet.data import ImageSet, Splits, load_test_set
from circlet.experiments import Experiment, Outcome, build_loss, experiment_of, load_run, rows_of, splits_of
from circlet.experiments.held_out import THRESHOLDS
from circlet.experiments.outcome import embed_test_set
from circlet.experiments.promises import OpenSetFound
from circlet.files import nan_for_null, write_text
from circlet.models import Embedded
from circlet.report.build import build_report
from circlet.report.data import ReportData
from circlet.training import RunFolder

STAGES, AUDIT = "stages.json", "audit.json"


def run_report(
    run: Path,
    device: torch.device,
    out: Path | None = None,
    *,
    data: Splits | None = None,
    trust: Collection[str] = (),
) -> Path:
    """Build the report of a finished run again, into its folder or to `out`; its path.

    The test images are embedded anew with the run's checkpoint; its metrics are those that it wrote. ValueError for a
    run that diverged, FileNotFoundError for one that is not finished. data: where to find the test images; None: where
    the settings say. trust: as in `circlet.load`.
    """
    folder = RunFolder.open(run)
    if folder.diverged is not None:
        raise ValueError(f"{folder.path}: found a run that diverged ({folder.diverged}), expected a finished run")
    if not (folder.path / "result.json").is_file():
        raise FileNotFoundError(f"{folder.path}: no result.json in it; expected a finished run (to finish it: circlet "
                                f"train --resume {folder.path})")  # fmt: skip
    if not folder.chosen.exists():
        raise FileNotFoundError(f"{folder.path}: no checkpoint in it; a run of circlet compare on frozen features "
                                "leaves one with --keep-models")  # fmt: skip
    result = folder.read_result()
    experiment, model = load_run(run, device, trust=trust)
    experiment_of(folder, trust, needed=["loss.name"])
    test_set = load_test_set(splits_of(folder, experiment, data), experiment.data.decoding)
    query, gallery = test_set.query, test_set.gallery
    embedded = embed_test_set(model, test_set, experiment, device)
    images = query.images, None if gallery is None else gallery.images
    found = result.get("open_set")
    open_set = None if found is None else OpenSetFound.from_json(found, f"{folder.path / 'result.json'}: open_set")
    intervals = {name: (low, high) for name, (low, high) in result.get("intervals", {}).items()}
    return write_report(folder, experiment, rows_of(result), images, embedded, out, intervals, open_set)


def report_of(outcome: Outcome, folder: RunFolder, experiment: Experiment) -> Path:
    """Build the report of what a run has just found; its path."""
    query, gallery = outcome.test_set.query, outcome.test_set.gallery
    images = query.images, None if gallery is None else gallery.images
    rows, found = rows_of(outcome.to_json()), outcome.open_set
    return write_report(folder, experiment, rows, images, outcome.embedded, None, outcome.intervals, found)


def write_report(
    folder: RunFolder,
    experiment: Experiment,
    metrics: Mapping[str, Mapping[str, float]],
    images: tuple[ImageSet, ImageSet | None],
    embedded: tuple[Tensor, Tensor | None],
    out: Path | None = None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    open_set: OpenSetFound | None = None,
) -> Path:
    """Write the page of a run into its folder, or to `out`; its path.

    metrics: rows of the headline table by name. images, embedded: query and gallery (None: the other queries).
    intervals, open_set: as in `ReportData`.
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
            stages=_stages(folder),
            audit=folder.read_json(AUDIT) if (folder.path / AUDIT).exists() else None,
            reid=experiment.task == "reid",
            sampled=_sampled(experiment),
            intervals=intervals or {},
            open_set=open_set,
            chosen_on=_chosen_on(folder),
            details={"Settings": experiment.to_json(), "Environment": folder.read_json("environment.json")},
        )
    )
    write_text(path, page)
    return path


def _stages(folder: RunFolder) -> dict[str, Any] | None:
    """stages.json, with NaN for what was not finite; None for a run without stages."""
    if not (folder.path / STAGES).exists():
        return None
    found = folder.read_json(STAGES)
    return {**found, "stages": nan_for_null(found["stages"])}


def _chosen_on(folder: RunFolder) -> str:
    """On what the thresholds of a run were chosen, in its own words."""
    if not (folder.path / THRESHOLDS).exists():
        return ""
    return str(folder.read_json(THRESHOLDS).get("chosen_on", ""))


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
