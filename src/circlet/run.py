"""A run as people use it in Python: trained or loaded, with its model, settings, metrics and report.

run = circlet.train(circlet.recipes.folder(root="photos"))
run = circlet.load("runs/folder-1")
"""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circlet import experiments
from circlet.data import Splits
from circlet.evaluate import Thresholds
from circlet.experiments import (
    Experiment,
    build_loss,
    build_splits,
    changed,
    check_task,
    next_folder,
    open_face_sets,
    open_run,
    require_same_training,
    resolved,
    splits_of,
)
from circlet.experiments.loading import each_once
from circlet.experiments.resuming import Change, changes
from circlet.experiments.run import nothing_left
from circlet.inference import Model, load_model
from circlet.inference.given import Given
from circlet.inference.model import OnError, default_device
from circlet.report import report_of, run_report
from circlet.training import RunFolder
from circlet.training.trackers import TRACKERS


class Run:
    """A run folder, opened: everything that it holds, read when asked for.

    path: of the folder. device: where `model` is.
    """

    def __init__(
        self, path: str | Path, *, trust: Collection[str] = (), device: torch.device | str | None = None
    ) -> None:
        self.path = Path(path)
        self.trust = tuple(trust)
        self.device = default_device(device)
        self.folder, self.experiment = open_run(self.path, needed=())
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        """The trained model with its preprocessing: the best checkpoint if there is one, else the last.

        `model.network` is the module, in evaluation mode; `model(images)` calls it.
        """
        if self._model is None:
            self._model = load_model(self.path, trust=self.trust, device=self.device)
        return self._model

    def embed(self, images: Given, *, on_error: OnError = "raise", show_progress: bool = True) -> Tensor:
        """Unit rows (n, dim) of images: paths, Pillow images, arrays, bytes, a folder; as `Model.embed`."""
        return self.model.embed(images, on_error=on_error, show_progress=show_progress)

    @property
    def metrics(self) -> dict[str, float]:
        """What the run found on its test classes, by name; ValueError if it has no result (yet)."""
        if self.folder.diverged is not None:
            raise ValueError(f"{self.path}: the run diverged and has no result ({self.folder.diverged})")
        if not (self.path / "result.json").exists():
            raise ValueError(f"{self.path}: has no result.json yet, expected a finished run "
                             f"(circlet train --resume {self.path})")  # fmt: skip
        found: dict[str, float] = self.folder.read_result()["test"]
        return found

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals over the test classes, by the names of `metrics`; {} in runs of earlier versions."""
        found: dict[str, tuple[float, float]] = self.folder.read_result().get("intervals", {}) if self.metrics else {}
        return {name: (low, high) for name, (low, high) in found.items()}

    @property
    def thresholds(self) -> Thresholds | None:
        """Similarities from which on to accept, chosen on validation classes; None where the run has none."""
        return experiments.thresholds_of(self.folder)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return self.folder.read_metrics()

    def evaluate(self, data: Splits | None = None) -> dict[str, float]:
        """Test the model again on the run's test classes; data: where to find them, as given to `train`."""
        _, outcome = experiments.evaluate_run(self.path, self.device, data=data, trust=self.trust)
        return outcome.metrics

    def report(self, data: Splits | None = None) -> Path:
        """Build the report of the run anew; the path of its HTML page. data: as in `evaluate`."""
        return run_report(self.path, self.device, data=data, trust=self.trust)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.experiment.recipe}, {self.experiment.loss.name})"


def load(source: str | Path, *, trust: Collection[str] = (), device: torch.device | str | None = None) -> Run | Model:
    """The `Run` in a folder that `circlet train` wrote; of anything else the `Model` (`circlet.inference.load_model`).

    >>> circlet.load("efficientnet_lite0")  # doctest: +SKIP
    Model('efficientnet_lite0', dim=1280, 224 x 224 px, ...)

    source: a run folder; a .safetensors file of `circlet export`; or the name of a pretrained network. A run has its
    model as `.model`, and both have `embed`. Who wants one of them whatever is there calls `Run` or `load_model`.
    trust: the `package.module:name` that its settings may import (a loss, a backbone, a data set of one's own).
    device: where to put the model; None: a GPU if there is one.

    FileNotFoundError if it is none of them; ValueError for one of a version that cannot be read, and for settings that
    name what is not trusted; nothing of the kind is imported then.
    """
    if Path(source).is_dir():
        return Run(source, trust=trust, device=device)
    return load_model(source, trust=trust, device=device)


def train(
    experiment: Experiment,
    *,
    data: Splits | None = None,
    run_dir: str | Path | None = None,
    device: torch.device | str | None = None,
    report: bool = True,
) -> Run:
    """Train as described, test on unseen classes, and give the finished run.

    experiment: of a recipe, such as `circlet.recipes.folder(root="photos", minutes=20)`. data: the images, instead of
    those that the experiment names; they are remembered by name (`Run.evaluate(data=...)` and `Run.report(data=...)`
    where the settings do not find them again). run_dir: folder to make; None: runs/<recipe>-<number>. device: None: a
    GPU if there is one. report: whether the report is built too.

    ValueError for settings or data that do not fit, before a folder is made; FloatingPointError if the training
    diverges. An interrupted run goes on with `circlet.resume(run_dir)`.
    """
    began = time.monotonic()
    experiment = resolved(experiment, data)
    splits = _checked(
        experiment, lambda: build_splits(experiment.data) if data is None else each_once(data, experiment.data)
    )
    folder = _new_folder(experiment, run_dir)
    with nothing_left(folder):
        return _trained(experiment, splits, folder, device, began, report=report)


def resume(
    run: str | Path,
    *,
    data: Splits | None = None,
    trust: Collection[str] = (),
    device: torch.device | str | None = None,
    report: bool = True,
    **settings: Any,
) -> Run:
    """Go on with an interrupted run as if nothing had happened; arguments as in `train` and `load`.

    settings: what changes, as keywords of a recipe, such as steps=500, minutes=40, root="moved" or data__workers=0.
    Steps count from the start of the run: a finished one is trained for longer so. The learning rate goes on as in a
    run that had that length from its start, and until it has reached it there is no result. resumed.json in the run
    folder notes the changes once the training goes on. ValueError for a setting that what was learnt so far comes from,
    and for fewer steps than the run has taken.
    """
    began = time.monotonic()
    folder, before = open_run(Path(run), trust)
    experiment = changed(before, **settings)
    found = changes(before, experiment)
    splits = _checked(experiment, lambda: splits_of(folder, experiment, data, to_train=True))
    return _trained(experiment, splits, folder, device, began, report=report, new=found)


def _checked(experiment: Experiment, find: Callable[[], Splits]) -> Splits:
    build_loss(experiment.loss)
    open_face_sets(experiment.faces)
    for name in experiment.loop.trackers:
        TRACKERS.find(name)
    splits = find()
    check_task(experiment.task, splits)
    require_same_training(experiment, splits.train)
    return splits


def _new_folder(experiment: Experiment, run_dir: str | Path | None) -> RunFolder:
    path = next_folder(experiment.folder_name) if run_dir is None else Path(run_dir)
    return RunFolder.create(path, experiment.to_json())


def _trained(
    experiment: Experiment,
    splits: Splits,
    folder: RunFolder,
    device: torch.device | str | None,
    began: float,
    *,
    report: bool,
    new: Mapping[str, Change] | None = None,
) -> Run:
    chosen = default_device(device)
    outcome = experiments.train(experiment, splits, folder, chosen, began=began, changes=new)
    if report and outcome is not None:
        report_of(outcome, folder, experiment)
    return Run(folder.path, trust=tuple(experiment.names().values()), device=chosen)
