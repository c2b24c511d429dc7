"""Many runs, a few at a time, each in a process of its own: finished ones are read, interrupted ones gone on with."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from circlet.compare.costs import COST
from circlet.experiments import Experiment, settings_digest
from circlet.training import RunFolder
from circlet.training.stop import stop_requests

SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Run:
    """A run to be made. validation_share: 0, or the share of the training classes that it is tested on instead.

    keep_model: of a head (`heads`): leave a checkpoint too.
    """

    parent: Path
    name: str
    experiment: Experiment
    validation_share: float = 0.0
    keep_model: bool = False

    @property
    def path(self) -> Path:
        """Its folder; a digest of all settings is in the name, so that other settings are another run."""
        digest = settings_digest(self.experiment, self.validation_share)
        return self.parent / f"{self.name.replace(':', '-').replace('=', '-')}-{digest}"

    @property
    def finished(self) -> bool:
        """Whether result and costs are there; a run that has diverged has ended too."""
        folder = RunFolder(self.path)
        if not (self.path / COST).is_file() or not folder.read_json(COST)["finished"]:
            return False
        return not self.keep_model or folder.model.exists() or folder.diverged is not None


@dataclass(frozen=True)
class Machine:
    """Where and how runs are made: `jobs` at once with `threads` CPU threads each."""

    jobs: int = 1
    threads: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        for name in ("jobs", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected at least 1")


def finish(runs: Sequence[Run], machine: Machine) -> list[RunFolder]:
    """Make the runs that are not finished yet; the folder of each. Those that diverge do not keep the others.

    Asked to stop (SIGINT, SIGTERM), the runs at work save a checkpoint, and KeyboardInterrupt is raised; so they do
    where another run fails, which is a ValueError with the end of its log.
    """
    waiting = [run for run in dict.fromkeys(runs) if not run.finished]
    total, begun, started, done = len(waiting), 0, time.monotonic(), 0
    if total < len(set(runs)):
        print(f"{len(set(runs)) - total} of {len(set(runs))} runs are finished already", flush=True)
    working: dict[Run, subprocess.Popen[bytes]] = {}
    with stop_requests() as stop:
        try:
            while waiting or working:
                while waiting and len(working) < machine.jobs:
                    run, begun = waiting.pop(0), begun + 1
                    print(f"run {begun} of {total}: {run.name}, folder {run.path}", flush=True)
                    working[run] = _start(run, machine)
                time.sleep(SECONDS_BETWEEN_LOOKS)
                if stop.requested:
                    raise KeyboardInterrupt("stopped; the same command goes on where it was")
                for run in [run for run, process in working.items() if process.poll() is not None]:
                    process = working.pop(run)
                    if process.returncode:
                        raise ValueError(f"{run.name}: the run ended with status {process.returncode}; the end of "
                                         f"{_log(run)}:\n{end_of(_log(run))}")  # fmt: skip
                    done += 1
                    left = (time.monotonic() - started) / done * (total - done)
                    print(f"{run.name}: {result_text(run)}; {done} of {total} done, {left:.0f} s left", flush=True)
        finally:
            for process in working.values():
                with suppress(ProcessLookupError):
                    process.terminate()
            for process in working.values():
                process.wait()
    return [RunFolder.open(run.path, of_search=True) for run in runs]


def _start(run: Run, machine: Machine) -> "subprocess.Popen[bytes]":
    run.parent.mkdir(parents=True, exist_ok=True)
    threads = str(machine.threads)
    arguments = [str(run.path), str(machine.device), threads, str(run.validation_share), str(machine.jobs)]
    with open(_log(run), "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "circlet.compare.one_run", *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
            start_new_session=True,  # Ctrl-C reaches us alone; a second signal would cut a run off before it has saved
        )
    assert process.stdin is not None
    with process.stdin as pipe, suppress(BrokenPipeError):
        pipe.write(json.dumps(run.experiment.to_json()).encode())
    return process


def _log(run: Run) -> Path:
    return run.path.with_name(f"{run.path.name}.log")


def end_of(path: Path) -> str:
    """The last lines of a log."""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


def result_text(run: Run) -> str:
    """What a finished run found, in a few words."""
    folder = RunFolder(run.path)
    if (reason := folder.diverged) is not None:
        return f"diverged ({reason})"
    result = folder.read_result("train_seconds")
    found = ", ".join(f"{name} {value:.4f}" for name, value in list(result["test"].items())[:1])
    return f"{found} on {'validation' if run.validation_share else 'test'} classes, {result['train_seconds']:.0f} s"
