"""Many heads on frozen features, by a few processes that each train one after the other: a run takes seconds, and to
start a process for each would take longer than the run. Finished ones are read, interrupted ones made anew.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from circlet.compare.runs import SECONDS_BETWEEN_LOOKS, Machine, Run, end_of, result_text
from circlet.compare.start import Start
from circlet.progress import progress
from circlet.training import RunFolder
from circlet.training.stop import stop_requests


class Worker:
    """A process of `circlet.compare.head_worker`. log: what it prints."""

    def __init__(self, machine: Machine, log: Path) -> None:
        self.log = log
        arguments = [str(machine.device), str(machine.threads), str(machine.jobs)]
        threads = {"OMP_NUM_THREADS": str(machine.threads), "OMP_WAIT_POLICY": "passive"}
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "circlet.compare.head_worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **threads},
                start_new_session=True,  # Ctrl-C reaches us alone
                text=True,
            )

    def make(self, task: dict[str, Any]) -> None:
        """Have one run made. ValueError for one that fails, or where the process has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps(task), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            status = self.process.wait()
            raise ValueError(f"its process ended with status {status}; the end of {self.log}:\n{end_of(self.log)}")
        if error := json.loads(answer).get("error"):
            raise ValueError(error)

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()


class HeadWorkers:
    """A context with the processes of a comparison, which are started when there is something to do.

    start: what all heads begin at. folder: of the comparison, for the log. prepare: what to do before they start.
    """

    def __init__(
        self, machine: Machine, start: Start, folder: Path, prepare: Callable[[], None] = lambda: None
    ) -> None:
        self.machine, self.start, self.log, self.prepare = machine, start, folder / "heads.log", prepare
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.stop()
        if self.log.exists() and not self.log.stat().st_size:
            self.log.unlink()

    def finish(self, runs: Sequence[Run]) -> list[RunFolder]:
        """Make the runs that are not finished yet; the folder of each. As `circlet.compare.runs.finish`."""
        every = list(dict.fromkeys(runs))
        waiting = deque(run for run in every if not run.finished)
        if len(waiting) < len(every):
            print(f"{len(every) - len(waiting)} of {len(every)} runs are finished already", flush=True)
        if waiting:
            self._make(waiting)
        return [RunFolder.open(run.path, of_search=True) for run in runs]

    def _make(self, waiting: deque[Run]) -> None:
        total = len(waiting)
        waiting[0].parent.mkdir(parents=True, exist_ok=True)
        if not self.workers:
            self.prepare()
        for _ in range(min(self.machine.jobs, total) - len(self.workers)):
            self.workers.append(Worker(self.machine, self.log))
        title = "search" if waiting[0].validation_share else "comparison"
        with (
            stop_requests() as stop,
            ThreadPoolExecutor(len(self.workers)) as threads,
            progress(title, total, unit="head") as shown,
        ):
            working: dict[Future[None], tuple[Run, Worker]] = {}
            idle = list(self.workers)
            try:
                while waiting or working:
                    while waiting and idle:
                        run, worker = waiting.popleft(), idle.pop()
                        working[threads.submit(worker.make, self._task(run))] = run, worker
                    for future in wait(working, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED).done:
                        run, worker = working.pop(future)
                        idle.append(worker)
                        if error := future.exception():
                            raise ValueError(f"{run.name}: {error}") from error
                        shown.advance()
                        if RunFolder(run.path).diverged is not None:
                            shown.print(f"{run.name}: {result_text(run)}")
                    if stop.requested:
                        raise KeyboardInterrupt("stopped; the same command goes on where it was")
            except BaseException:
                for worker in self.workers:  # else the threads would wait for their answers
                    worker.process.terminate()
                raise

    def _task(self, run: Run) -> dict[str, Any]:
        return {
            "path": str(run.path),
            "experiment": run.experiment.to_json(),
            "validation_share": run.validation_share,
            "shrinkage": self.start.shrinkage,
            "known": {} if run.validation_share else {"frozen": self.start.frozen, "raw_pixels": self.start.raw_pixels},
            "keep_model": run.keep_model,
        }
