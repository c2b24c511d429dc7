"""One writer at a time: a folder is locked while a process writes into it, and a second one is told who the first is.

    .lock        held by the operating system for the process (flock), so that it goes with it, however that ends
    .lock.json   who holds it: host, process, command, and since when
    .lock.soft   in place of .lock where the file system knows no flock: its existence is the lock. One that a dead
                 process of this host has left is taken over; whether one of another host is alive, nobody can tell

All three are gone when the lock is released. Network file systems with locks (NFS, Lustre with -o flock) lock between
hosts; where only some hosts have them, a host with and a host without do not see each other, and where a host keeps its
locks to itself (NFS with local_lock=flock, Lustre with -o localflock, many of FUSE) neither do those with.

One window is left: a process that has opened .lock just before the holder removes it may then lock the removed file. On
a local disk that is seen, and it tries again; NFS keeps such a file under another name, so that there it and the next
one to come would both hold the lock.
"""

import errno
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from circlet.files import read_json, write_json
from circlet.terminal import printable

LOCK, OWNER, SOFT = ".lock", ".lock.json", ".lock.soft"
LOCK_FILES = (LOCK, OWNER, SOFT)
_NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
_OWNER_BYTES, _COMMAND_CHARACTERS = 4096, 200


class FolderInUse(OSError):
    """Another process, or another thread of this one, writes into the folder; the message says who."""


@contextmanager
def locked(folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Within it, nobody else has `folder` locked.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)), locked(Path(folder)):  # again: no matter
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['.lock', '.lock.json']

    folder: one that is there and may be written to, else an OSError. wait_s: seconds to wait for another to end.

    Raises FolderInUse, an OSError, which names the holder. The same thread may lock a folder again, any other not.
    """
    lock = _acquired(folder, wait_s)
    owner = folder.resolve() / OWNER
    try:
        if lock.lock_counter == 1:
            write_json(owner, _this_process())
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):
                owner.unlink()
            if lock.lock_file.endswith(LOCK):  # while it is held: whoever has it open sees that it has gone
                with suppress(OSError):
                    os.unlink(lock.lock_file)
        lock.release()


def _acquired(folder: Path, wait_s: float) -> BaseFileLock:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder, expected one to write into")
    path = folder.resolve()
    hard = FileLock(path / LOCK, is_singleton=True, fallback_to_soft=False)  # one object for a path: it counts
    try:
        try:
            hard.acquire(timeout=wait_s)
            return hard
        except Timeout:
            raise
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise OSError(f"{folder}: could not be locked to be written to ({error})") from error
        with suppress(OSError):
            (path / LOCK).unlink()
        soft = SoftFileLock(path / SOFT, is_singleton=True)
        soft.acquire(timeout=wait_s)
        return soft
    except Timeout as error:
        hint = f"; if that one is gone, remove {folder / SOFT}" if error.lock_file.endswith(SOFT) else ""
        holder = _holder(path)
        own = holder.startswith(f"process {os.getpid()} on {socket.gethostname()} ")
        advice = "that is this one, so close what has it open" if own else "wait until it has ended, or stop it"
        raise FolderInUse(f"{folder}: found {holder} writing into it, expected nobody: {advice}{hint}") from None


def _this_process() -> dict[str, object]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": shlex.join(sys.orig_argv)[:_COMMAND_CHARACTERS],
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(folder: Path) -> str:
    """Who holds the lock, in words; the file may be missing for a moment, and may hold anything."""
    path = folder / OWNER
    for _ in range(10):
        with suppress(OSError, ValueError, LookupError):
            if path.is_file() and path.stat().st_size <= _OWNER_BYTES:
                found = {name: printable(str(value)[:_COMMAND_CHARACTERS]) for name, value in read_json(path).items()}
                return f"process {found['pid']} on {found['host']} ({found['command']}, since {found['since']})"
        time.sleep(0.05)
    return "another process"
