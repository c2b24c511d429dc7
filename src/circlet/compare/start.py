"""What a comparison on frozen features starts from, the same for every loss: the closed form, and the rows beside it.

The closed form's shrinkage is chosen by folds of the training classes. What the test classes give in raw pixels, by the
frozen network, and by the closed form without any loss stands in the table, and chooses nothing.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from circlet.compare.classes import ClassValues, by_class
from circlet.data import Splits
from circlet.experiments import Experiment, common_splits, settings_digest
from circlet.experiments.head_runs import HeadRuns, frozen_network
from circlet.experiments.loading import load_lazily
from circlet.experiments.metrics import metrics_of
from circlet.experiments.outcome import plainly
from circlet.files import nan_for_null, read_json, write_json
from circlet.typed import typed


class Start(NamedTuple):
    """shrinkage: None where heads begin at the features as they are. closed_form: metrics, None without a shrinkage.

    frozen_classes, closed_form_classes: class by class, empty for a task without such values.
    """

    raw_pixels: dict[str, float]
    frozen: dict[str, float]
    frozen_classes: ClassValues
    shrinkage: float | None = None
    closed_form: dict[str, float] | None = None
    closed_form_classes: ClassValues | None = None


def for_heads(experiment: Experiment) -> Experiment:
    """The experiment as heads on frozen features are compared by: the stages but for that of the network itself."""
    transfer = experiment.transfer
    if "head" not in transfer.stages or not transfer.head.steps:
        raise ValueError(f"transfer.stages: found {' '.join(transfer.stages)} with {transfer.head.steps} steps of the "
                         "head, expected the stage head: it is what losses are compared by on frozen features; or none "
                         "(--transfer.stages, followed by nothing), to train the whole network with each")  # fmt: skip
    if transfer.minutes is not None:
        raise ValueError(f"minutes: found {transfer.minutes:g}, expected none: each loss gets the same steps "
                         "(--transfer.head.steps), no time")  # fmt: skip
    stages = tuple(stage for stage in transfer.stages if stage != "network")
    return replace(experiment, transfer=replace(transfer, stages=stages))


def find_start(experiment: Experiment, folder: Path, device: torch.device) -> Start:
    """Find it, or read what an earlier call left in `folder` for the same settings."""
    path = folder / f"start-{settings_digest(experiment)}.json"
    if path.exists():
        found: Start = typed(Start, nan_for_null(read_json(path)), f"{path}: start")
        return found
    found = _found(experiment, common_splits(folder, experiment.data), device)
    content: dict[str, Any] = {name: value for name, value in found._asdict().items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return found


def _found(experiment: Experiment, splits: Splits, device: torch.device) -> Start:
    heads = HeadRuns(
        frozen_network(experiment, device),
        load_lazily(experiment.data, splits),
        experiment.transfer.looks,
    )
    test_set, plain = heads.test_set, plainly(experiment)
    embedded = heads.embedded()
    found = Start(
        metrics_of(heads.raw_pixels(), test_set, plain),
        metrics_of(embedded, test_set, plain),
        by_class(embedded, test_set, plain),
    )
    if "closed_form" not in experiment.transfer.stages:
        return found
    shrinkage = heads.choose_start(experiment).shrinkage
    if shrinkage is None:
        return found
    embedded = heads.embedded(heads.shortened(heads.start(shrinkage), experiment))
    return found._replace(
        shrinkage=shrinkage,
        closed_form=metrics_of(embedded, test_set, experiment),
        closed_form_classes=by_class(embedded, test_set, experiment),
    )
