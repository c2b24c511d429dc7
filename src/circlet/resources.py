"""What a machine has run out of, in one line that says what to change: memory, shared memory, open files, processes.

PyTorch and Python say it with an empty MemoryError, with a RuntimeError among many lines, or not at all: a worker that
may open no more files drops a batch, for which everyone then waits.
"""

import errno
import math
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

try:
    import resource
except ImportError:  # Windows, without limits of this kind
    resource = None  # type: ignore[assignment]

T = TypeVar("T")
_SHARED = Path("/dev/shm")
_LITTLE_MIB = 256
_FILES_OF_WORKER, _FILES_BESIDE = 10, 16  # pipes, and the tensors of two batches on their way
_ASKED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTP]?i?B)\b", re.IGNORECASE)


class OutOfResources(OSError):
    """Something that loader workers need has run out; the message says what, and what to change."""


def explained(error: BaseException) -> str | None:
    """What has run out and what to change, for an error that says so in its own way; None for any other.

    >>> explained(MemoryError())
    'memory: found none left, expected less to be asked for: ...'
    >>> explained(ValueError("steps: found 0, expected at least 1")) is None
    True
    """
    text, number = str(error), getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return _memory(text)
    if not isinstance(error, OSError | RuntimeError) or isinstance(error, OutOfResources):
        return None
    of_a_file = isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "filename", None) is not None
    if of_a_file and number not in (errno.EMFILE, errno.ENFILE):
        return None  # its text holds a name, which may say anything
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        names_a_file = isinstance(error, OSError) and (error.filename or number is None)
        return _open_files(f" ({text})" if names_a_file else "")
    if "shared memory" in text:
        return _shared_memory()
    if "allocate memory" in text or "out of memory" in text or "killed by signal: Killed" in text:
        return _memory(text)
    if "can't start new thread" in text:
        return "threads: found that no more may be started, expected more (ulimit -u), or more memory (ulimit -v)"
    if "DataLoader worker" in text and "exited unexpectedly" in text:
        return _ended(text)
    return None


def loaded(loader: Iterable[T]) -> Iterator[T]:
    """What a DataLoader gives; OutOfResources in place of errors, and of the wait, where its workers lack something.

    >>> list(loaded([1, 2]))
    [1, 2]
    """
    workers = getattr(loader, "num_workers", 0)
    _make_room(workers)
    with _explaining(workers):
        batches = iter(loader)
    return _each(batches, workers)


def _each(batches: Iterator[T], workers: int) -> Iterator[T]:
    with _explaining(workers):
        yield from batches


@contextmanager
def _explaining(workers: int) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        full = workers and getattr(error, "errno", None) == errno.ENOSPC  # where semaphores lie, too
        found = _shared_memory() if full else explained(error)
        if not found:
            raise
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            traceback.clear_frames(error.__traceback__)  # an iterator that is half made complains when it goes
        finally:
            sys.unraisablehook = hook
        raise OutOfResources(found) from None


def _make_room(workers: int) -> None:
    """Let this process and its workers open as many files as they need, if the system allows that."""
    if resource is None or not workers or not os.path.isdir("/proc/self/fd"):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/proc/self/fd")) + _FILES_BESIDE + _FILES_OF_WORKER * workers
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OutOfResources(_open_files(f"; {workers} workers need {needed}"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _open_files(more: str) -> str:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else "the system's"
    return f"open files: found a limit of {limit}{more}, expected more (ulimit -n 4096), or --data.workers 0"


def _ended(text: str) -> str:
    """Of a worker that has ended by itself, of which the cause is lost: a fault in native code, memory, a signal."""
    found = f"loader workers: found one that has ended ({text.splitlines()[0].strip()}), expected --data.workers 0, " \
        "which shows its error"  # fmt: skip
    free, _ = _shared_mib() or (math.inf, 0)
    return f"{found}; {_shared_memory()}" if free < _LITTLE_MIB else found


def _shared_mib() -> tuple[float, float] | None:
    """MiB of shared memory that are free, and of all; None where nobody can tell."""
    if not _SHARED.is_dir() or not hasattr(os, "statvfs"):
        return None
    room = os.statvfs(_SHARED)
    return room.f_frsize * room.f_bavail / 2**20, room.f_frsize * room.f_blocks / 2**20


def _shared_memory() -> str:
    known = _shared_mib()
    found = f"{known[0]:.0f} of {known[1]:.0f} MiB free in {_SHARED}, " if known else ""
    return (f"shared memory: found {found}too little for loader workers, expected --data.workers 0, or more of it "
            "(docker run --shm-size 2g)")  # fmt: skip


def _memory(text: str) -> str:
    asked = _ASKED.search(text)
    amount = f" for another {_in_mib(asked)}" if asked else ""
    where = " on the GPU" if "CUDA" in text else ""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource and not where else -1
    allowed = "" if limit < 0 else f" (ulimit -v allows {limit / 2**20:,.0f} MiB)"
    return (f"memory: found none left{where}{amount}{allowed}, expected less to be asked for: a smaller batch "
            "(--batch.classes, --batch.samples, --loop.chunk), images not all at once (--data.no-in-memory), or "
            "fewer processes (--data.workers)")  # fmt: skip


def _in_mib(asked: re.Match[str]) -> str:
    powers = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
    return f"{float(asked[1]) * 1024 ** powers[asked[2][0].lower()] / 2**20:,.0f} MiB"
