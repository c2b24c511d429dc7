"""One run of a comparison, in a process of its own, so that its memory and CPU time are its own too.

    python -m circlet.compare.one_run FOLDER DEVICE THREADS VALIDATION_SHARE JOBS < experiment.json

VALIDATION_SHARE above 0: a run of the search. That share of the *training* classes takes the place of the test
classes, which the process then does not touch; whatever the task, the test is retrieval among them. JOBS: how many runs
are made at once, for the record. An interrupted run goes on where its last checkpoint is. One that diverges has ended
too, without a result: diverged.json says why.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from circlet.compare.classes import ClassValues, by_class, write_classes
from circlet.compare.costs import keep_costs
from circlet.data import Splits, hold_out_classes
from circlet.experiments import Experiment, Outcome, common_splits, train
from circlet.experiments.head_runs import frozen_network
from circlet.experiments.outcome import embedded_by, plainly
from circlet.terminal import say
from circlet.training import RunFolder

WAIT_S = 60.0  # a run whose comparison has gone stops by itself within seconds


def main(arguments: list[str]) -> None:
    """Train, test, and leave the costs in cost.json, those of earlier, interrupted sessions included."""
    path, device = Path(arguments[0]), torch.device(arguments[1])
    threads, share, jobs = int(arguments[2]), float(arguments[3]), int(arguments[4])
    torch.set_num_threads(threads)
    experiment = Experiment.from_json(json.load(sys.stdin))
    splits = common_splits(comparison_of(path), experiment.data)
    if share:
        splits, experiment = without_test_classes(splits, share), of_search(experiment)
    with made(path, experiment, share) as folder:
        _run(experiment, splits, folder, device, share, threads, jobs)


@contextmanager
def made(path: Path, experiment: Experiment, share: float) -> Iterator[RunFolder]:
    """The folder of a run, new or begun by an earlier comparison; locked, once what is left of that one has stopped."""
    path.mkdir(parents=True, exist_ok=True)
    with RunFolder(path).locked(wait_s=WAIT_S):
        there = (path / "config.json").is_file()
        yield RunFolder(path) if there else RunFolder.create(path, experiment.to_json(), validation_share=share)


def _run(
    experiment: Experiment,
    splits: Splits,
    folder: RunFolder,
    device: torch.device,
    share: float,
    threads: int,
    jobs: int,
) -> None:
    note = keep_costs(folder, device, threads=threads, jobs=jobs)
    finished = False
    try:
        outcome = train(experiment, splits, folder, device)
        if outcome is not None and not share:
            classes = by_class(outcome.embedded, outcome.test_set, experiment)
            write_classes(folder.path, classes, frozen_classes(outcome, experiment, device))
        finished = True
    except FloatingPointError as error:
        say(f"diverged: {error}")
        finished = folder.diverged is not None
        if not finished:
            raise
    finally:
        note(finished)
    if share:  # a number is all that is asked of it
        for checkpoint in (folder.last, folder.best):
            checkpoint.unlink(missing_ok=True)


def comparison_of(run: Path | str) -> Path:
    """The folder of the comparison that a run is made for: OUT of OUT/runs/NAME and OUT/search/NAME."""
    return Path(run).parent.parent


def stop_without(parent: int, seconds: float = 1.0) -> None:
    """Ask this process to stop once `parent` has gone, so that the next comparison does not find it at work."""
    while os.getppid() == parent:
        time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGTERM)


def of_search(experiment: Experiment) -> Experiment:
    """The experiment as a search makes it: the test is retrieval, plainly, and no classes choose checkpoint or end."""
    plain = replace(experiment.test, expand=0, rerank=False, draws=0)
    data = replace(experiment.data, validation_share=0.0)
    return replace(experiment, task="retrieval", data=data, loop=replace(experiment.loop, patience=0), test=plain)


def frozen_classes(outcome: Outcome, experiment: Experiment, device: torch.device) -> ClassValues:
    """What the network gave in each test class before it was trained, by features that the run has left in the cache;
    empty for a run that began from random weights.
    """
    if outcome.frozen is None:
        return {}
    embedded = embedded_by(frozen_network(experiment, device).embeddings, outcome.test_set)
    return by_class(embedded, outcome.test_set, plainly(experiment))


def without_test_classes(splits: Splits, share: float) -> Splits:
    """Training classes alone: train on the rest, validate on a share of them; the test classes are left out."""
    return Splits(*hold_out_classes(splits.train, share))


if __name__ == "__main__":
    threading.Thread(target=stop_without, args=(os.getppid(),), daemon=True).start()
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt as error:
        say(f"{error or 'interrupted'}")
        sys.exit(130)
