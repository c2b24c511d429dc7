"""Opening a file that somebody else named and made: a regular one, which reads no more than it has.

A named pipe would be waited for, and a device may never end or do something when it is opened. A length that a file
claims would be set aside in memory before it is found not to be there.
"""

import io
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_LONG = 1 << 20  # bytes to read at once, from which it is looked at whether they are there


class NotAFileError(ValueError):
    """What is there is no regular file."""


class _RegularFile(io.BufferedReader):
    """Takes no memory for bytes that are not there."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LONG:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file, or a link to one, to be read.

    >>> open_regular("/dev/zero")
    Traceback (most recent call last):
    circlet.data.regular.NotAFileError: found a device, expected a regular file

    An OSError where it cannot be opened; the message of `NotAFileError` does not name the path.
    """
    _require_regular(os.stat(path).st_mode)
    file = _RegularFile(io.FileIO(path, "rb", opener=_without_waiting))
    try:
        _require_regular(os.fstat(file.fileno()).st_mode)  # it may have been another a moment ago
    except BaseException:
        file.close()
        raise
    return file


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotAFileError(f"found {_KINDS.get(stat.S_IFMT(mode), 'something else')}, expected a regular file")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
