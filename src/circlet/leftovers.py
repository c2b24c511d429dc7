"""The part of a file that is being written, and parts whose writer was killed.

A file is written as `.NAME.HOST-PID.part` beside its place, then moved there; HOST is the CRC-32 of the host's name,
and earlier versions wrote none. Its writer holds a lock of the operating system on it (flock), which ends with the
process, however that ends; the number of a process says nothing of one in another container. So a part that nobody has
locked is a leftover, and goes: before the same file is written again, and, in folders that are ours, with
`remove_leftovers`.

Some file systems keep locks to the host that took them, or know none: NFS mounted with local_lock=flock, Lustre with
-o localflock, many of FUSE, and all on Windows. So the part of another host, and any part where there are no locks,
goes only once nothing has been written to it for a day.
"""

import os
import re
import socket
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
_LOCKS = fcntl is not None

ABANDONED_S = 24 * 3600.0
WRITER = r"(?:([0-9a-f]{8})-)?\d+"
"""Regular expression of who writes a part: what stands between .NAME. and .part; its group is the host."""

_WAIT_S, _TRIES = 0.1, 600
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def part_file(path: Path) -> Iterator[BinaryIO]:
    """The part of `path`, to be filled; moved there at the end, once it is on the disk, or removed on an error."""
    remove_leftovers(path.parent, path.name)
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.part")
    with _locked(temporary) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not _LOCKS:  # Windows moves no file that is open; elsewhere it is locked until it has been moved
                file.close()
            os.replace(temporary, path)
        except BaseException:
            if not _LOCKS:
                file.close()
            temporary.unlink(missing_ok=True)
            raise


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove the parts in `folder` whose writer has gone: of the file `name`, or, in a folder that is ours, of all.

    What cannot be removed stays; only regular files go, never through a link.
    """
    pattern = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.{WRITER}\.part", re.DOTALL)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (found := pattern.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    _remove_if_abandoned(Path(entry.path), of_this_host=found[1] in (None, _host()))


def _host() -> str:
    """Eight characters that a file name may have, and that a host does not share with the others of a file system."""
    return f"{zlib.crc32(os.fsencode(socket.gethostname())):08x}"


def _locked(path: Path) -> BinaryIO:
    """An empty file at `path`, locked; waits a minute for one that another thread, or container, writes."""
    for _ in range(_TRIES):
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | _NO_LINK, 0o666), "wb")
        try:
            if _LOCKS:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            time.sleep(_WAIT_S)
            continue
        except OSError:  # a file system without locks
            pass
        if _is_there(file, path):  # else it was moved, or taken for a leftover, before it was locked
            file.truncate()
            return file
        file.close()
    raise OSError(f"{path}: found another process or thread writing it for a minute, expected it to end")


def _remove_if_abandoned(path: Path, *, of_this_host: bool) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | _NO_LINK), "wb") as file:
        locked = False
        if _LOCKS:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                return
            except OSError:  # a file system without locks
                pass
        abandoned = (locked and of_this_host) or time.time() - os.fstat(file.fileno()).st_mtime > ABANDONED_S
        if not _LOCKS:  # Windows removes no file that is open
            file.close()
        if abandoned and (not _LOCKS or _is_there(file, path)):
            path.unlink()


def _is_there(file: BinaryIO, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        found, own = os.lstat(path), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) and stat.S_ISREG(found.st_mode)
