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
from dataclasses import replace
from pathlib import Path

import torch

from circlet.compare.runs import COST
from circlet.data import Splits, hold_out_classes
from circlet.experiments import Experiment, build_splits, train
from circlet.training import RunFolder


def main(arguments: list[str]) -> None:
    """Train, test, and leave the costs in cost.json, those of earlier, interrupted sessions included."""
    path, device = Path(arguments[0]), torch.device(arguments[1])
    threads, share, jobs = int(arguments[2]), float(arguments[3]), int(arguments[4])
    torch.set_num_threads(threads)
    experiment = Experiment.from_json(json.load(sys.stdin))
    splits = build_splits(experiment.data)
    if share:
        splits = without_test_classes(splits, share)
        plain = replace(experiment.test, expand=0, rerank=False, draws=0)
        data = replace(experiment.data, validation_share=0.0)
        experiment = replace(experiment, task="retrieval", data=data, test=plain)
    there = (path / "config.json").is_file()
    folder = RunFolder(path) if there else RunFolder.create(path, experiment.to_json(), validation_share=share)
    before = folder.read_json(COST) if (path / COST).exists() else {}
    began = time.monotonic()

    def note(finished: bool) -> None:
        cost = {
            "finished": finished,
            "sessions": before.get("sessions", 0) + 1,
            "wall_seconds": before.get("wall_seconds", 0.0) + time.monotonic() - began,
            "cpu_seconds": before.get("cpu_seconds", 0.0) + time.process_time(),
            "peak_memory_mib": max(before.get("peak_memory_mib", 0.0), peak_memory_mib()),
            "threads": threads,
            "jobs": max(before.get("jobs", 0), jobs),
            "device": str(device),
        }
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device) / 2**20
            cost["peak_device_memory_mib"] = max(before.get("peak_device_memory_mib", 0.0), peak)
        folder.write_json(COST, cost)

    note(finished=False)  # a session that is killed counts all the same
    finished = False
    try:
        train(experiment, splits, folder, device)
        finished = True
    except FloatingPointError as error:
        print(f"diverged: {error}", file=sys.stderr)
        finished = folder.diverged is not None
        if not finished:
            raise
    finally:
        note(finished)
    if share:  # a number is all that is asked of it
        for checkpoint in (folder.last, folder.best):
            checkpoint.unlink(missing_ok=True)


def stop_without(parent: int, seconds: float = 1.0) -> None:
    """Ask this process to stop once `parent` has gone, so that the next comparison does not find it at work."""
    while os.getppid() == parent:
        time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGTERM)


def without_test_classes(splits: Splits, share: float) -> Splits:
    """Training classes alone: train on the rest, validate on a share of them; the test classes are left out."""
    return Splits(*hold_out_classes(splits.train, share))


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB.

    On Linux VmHWM, since ru_maxrss starts from that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource  # macOS, in bytes

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    threading.Thread(target=stop_without, args=(os.getppid(),), daemon=True).start()
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt as error:
        print(f"{error or 'interrupted'}", file=sys.stderr)
        sys.exit(130)
