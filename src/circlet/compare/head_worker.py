"""A process that trains one head after the other on frozen features, as it is told on standard input.

    python -m circlet.compare.head_worker DEVICE THREADS JOBS

A line of JSON in: `path`, `experiment`, `validation_share` (as in `one_run`), `shrinkage`, `known` (what is in the
result.json of all runs), `keep_model`. A line of JSON out when that run is finished: empty, or with an `error`. The
first run of each validation_share reads images and features, the others find them here. The end of the input ends it.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from circlet.analyse import Telemetry, Trace
from circlet.compare.classes import by_class, write_classes
from circlet.compare.costs import keep_costs
from circlet.compare.one_run import comparison_of, made, of_search, without_test_classes
from circlet.experiments import Experiment, common_splits
from circlet.experiments.head_runs import HeadRuns, frozen_network
from circlet.experiments.loading import load_lazily
from circlet.experiments.metrics import metrics_of
from circlet.experiments.remembered import begin
from circlet.training import RunFolder
from circlet.transfer import LinearMap, set_head
from circlet.transfer.head import TrainedHead


class Images:
    """What the runs of one comparison share: network and splits of the first, features of each validation_share.

    folder: of the comparison, which keeps the splits.
    """

    def __init__(self, experiment: Experiment, device: torch.device, folder: Path) -> None:
        self.experiment = experiment
        self.splits = common_splits(folder, experiment.data)
        self.frozen = frozen_network(experiment, device)
        self.known: dict[float, HeadRuns] = {}

    def heads(self, share: float) -> HeadRuns:
        """To train on all training classes, or on all but that share of them, and to be tested on the others."""
        if share not in self.known:
            splits = without_test_classes(self.splits, share) if share else self.splits
            self.known[share] = HeadRuns(
                self.frozen, load_lazily(self.experiment.data, splits), self.experiment.transfer.looks
            )
        return self.known[share]


def make(task: dict[str, Any], heads: HeadRuns, device: torch.device, threads: int, jobs: int) -> None:
    """Train and test one head, and leave its folder; one that diverges leaves the reason."""
    path, share, cpu_since = Path(task["path"]), float(task["validation_share"]), time.process_time()
    settings = Experiment.from_json(task["experiment"])
    with made(path, settings, share) as folder:
        note = keep_costs(folder, device, threads=threads, jobs=jobs, cpu_since=cpu_since)
        _train(task, of_search(settings) if share else settings, folder, heads)
        note(True)


def _train(task: dict[str, Any], experiment: Experiment, folder: RunFolder, heads: HeadRuns) -> None:
    if task["keep_model"]:  # it can be tested again
        begin(folder, experiment, heads.data)
    else:
        folder.begin(heads.data.train_counts)
    began = time.monotonic()
    try:
        observe = Telemetry(Trace(folder.path)) if task["keep_model"] else None
        trained: TrainedHead = heads.train(experiment, task["shrinkage"], observe)
    except FloatingPointError as error:
        folder.write_metrics([])
        folder.end_without_result(str(error))
        return
    seconds = round(time.monotonic() - began, 3)
    folder.write_metrics(trained.log)
    embedded = heads.embedded(trained.head)
    result = {"test": metrics_of(embedded, heads.test_set, experiment), **task["known"], **heads.counts()}
    if not task["validation_share"]:
        write_classes(folder.path, by_class(embedded, heads.test_set, experiment))
    if task["keep_model"]:
        result["checkpoint"] = folder.model.name
        _save(folder, heads, trained.head)
    folder.write_json("result.json", {**result, "train_seconds": seconds})


def _save(folder: RunFolder, heads: HeadRuns, head: LinearMap) -> None:
    model = heads.frozen.model
    set_head(model, head)
    folder.save(folder.model, {"model": {name: value.cpu() for name, value in model.state_dict().items()}})


def main(arguments: list[str]) -> None:
    """Serve until the input ends."""
    device, threads, jobs = torch.device(arguments[0]), int(arguments[1]), int(arguments[2])
    torch.set_num_threads(threads)
    answers, sys.stdout = sys.stdout, sys.stderr  # what others print is no answer
    images: Images | None = None
    for line in sys.stdin:
        task = json.loads(line)
        answer = {}
        try:
            images = images or Images(Experiment.from_json(task["experiment"]), device, comparison_of(task["path"]))
            make(task, images.heads(task["validation_share"]), device, threads, jobs)
        except (ValueError, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
