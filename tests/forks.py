"""Processes that start in milliseconds: forked from one that has loaded PyTorch and the package, once for all tests.

They stand in the folder that the test is in. Where a fresh interpreter is what is tested, `subprocess` starts one.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from torch.multiprocessing import start_processes

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["circlet.run", "circlet.compare", "circlet.cli.train", "circlet.cli.index", "circlet.serve", "pyarrow.parquet",
     "pytest", "httpx", "uvicorn", "torch._dynamo", "torch.distributed.checkpoint", "torch.distributed.fsdp",
     "torch.nn.parallel"]
)  # fmt: skip


def on_ranks(num_ranks: int, work: Callable[..., object], *arguments: Any) -> None:
    """`work(rank, *arguments)` in so many processes at once; an error of one of them is raised, and ends the others.

    Their environment is that of the first test that has started a process here: what they need of it is an argument.
    """
    start_processes(work, arguments, nprocs=num_ranks, start_method="forkserver")


class Forked:
    """`work(*arguments)` at work, with what of `subprocess.Popen(..., stdout=PIPE, stderr=PIPE, text=True)` tests use.

    What it returns is its exit status: a number, or None for 0.
    """

    def __init__(self, work: Callable[..., object], *arguments: Any) -> None:
        (out, speaks), (err, complains) = (FORKS.Pipe(duplex=False) for _ in "12")
        given = (speaks, complains, dict(os.environ), work, arguments)
        self._process = FORKS.Process(target=_speaking, args=given)
        self._process.start()
        speaks.close()  # our copies
        complains.close()
        self.pid = self._process.pid
        self.stdout, self.stderr = (os.fdopen(os.dup(pipe.fileno())) for pipe in (out, err))
        out.close()
        err.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The rest of its output and of its errors, once it has ended; TimeoutError where it does not."""
        rest = ["", ""]

        def read(number: int) -> None:
            pipe = (self.stdout, self.stderr)[number]
            if not pipe.closed:
                with pipe:
                    rest[number] = pipe.read()

        readers = [threading.Thread(target=read, args=(number,)) for number in (0, 1)]
        for reader in readers:
            reader.start()
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise TimeoutError(f"process {self.pid} was at work for more than {timeout} s")
        for reader in readers:
            reader.join()
        return rest[0], rest[1]


def _speaking(out: Any, err: Any, environment: dict[str, str], work: Callable[..., object], arguments: Any) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for pipe, number in ((out, 1), (err, 2)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    # Those at hand know a file, into which one can seek.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    raise SystemExit(work(*arguments))


def what_was_said(pipe: Any) -> list[Any]:
    """All that the other end of a pipe has sent, or sends until its process has ended, killed or not."""
    found = []
    with pipe:
        try:
            while True:
                found.append(pipe.recv())
        except EOFError:
            return found
