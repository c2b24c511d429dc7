"""Opening the files of a store: regular ones alone, through no link, and without waiting for a pipe."""

import io
import os
import stat
from pathlib import Path


def open_regular_file(path: Path, *, to_write: bool = False) -> io.FileIO:
    """Open a file of a store's folder to be read, or read and written; without a buffer.

    FileNotFoundError if it is not there, another OSError if it may not be opened, ValueError if it is no regular file.
    """
    flags = os.O_RDWR if to_write else os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    if path.is_symlink():
        raise ValueError(f"{path}: found a link, expected a regular file")
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path}: found something else, expected a regular file")
        return io.FileIO(descriptor, "r+" if to_write else "r")
    except BaseException:
        os.close(descriptor)
        raise


def read_whole(file: io.FileIO, count: int) -> bytes:
    """The next `count` bytes, fewer at the end of the file; a system may give fewer than asked for at a time."""
    parts = []
    while count > 0 and (part := file.read(min(count, 1 << 26))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; where folders cannot be opened (Windows) that is nobody's to do."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
