"""Digests of what is in files, not read again where path, size, times and inode are those of a file that was read.

A time may lie: a file that is written again within the clock's tick, in the same length, has the time that it had. So
only files are remembered that had been at rest for some seconds when they were read, as git does it; and the time of
the last change of the inode counts too, which no program can set back. What is remembered lies in the cache of the
machine, not in the index: without it, files are read again.
"""

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from circlet.data import DataError, ImageSet, content_digest
from circlet.data.ahead import map_ahead, num_threads
from circlet.data.readers import file_of, part_of
from circlet.download import cache_dir
from circlet.files import write_atomically
from circlet.progress import progress

_BYTES = 16
_REST_NS = 3_000_000_000  # file systems of coarse times and servers with a clock of their own


class FilesSeen:
    """What was in files, by what the file system says of them; kept for one folder.

    root: the folder. folder: where it is kept; None: below `circlet.download.cache_dir`.
    """

    def __init__(self, root: str, folder: Path | None = None) -> None:
        name = hashlib.blake2b(os.fsencode(root), digest_size=_BYTES).hexdigest()
        self.path = (cache_dir() / "files" if folder is None else folder) / f"{name}.npy"
        self._before = self._read()
        self._now: dict[bytes, bytes] = {}

    def content(self, images: ImageSet, index: int) -> bytes:
        """`circlet.data.content_digest` of an image, perhaps from memory; DataError where it cannot be read."""
        path = file_of(images.read, index)
        if path is None or part_of(images.read, index) != b"":
            return content_digest(images, index)
        began = time.time_ns()
        seen = _look(path)
        if seen is not None and (known := self._before.get(seen[0])) is not None:
            self._now[seen[0]] = known
            return known
        content = content_digest(images, index)
        if seen is not None and _look(path) == seen and seen[1] < began - _REST_NS:
            self._now[seen[0]] = content
        return content

    def save(self) -> None:
        """Keep what was seen this time; where that is not possible, files are read again."""
        if self._now == self._before:
            return
        rows = np.frombuffer(b"".join(key + value for key, value in self._now.items()), np.uint8)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, lambda file: np.save(file, rows.reshape(-1, 2 * _BYTES), allow_pickle=False))
        except OSError:
            pass

    def _read(self) -> dict[bytes, bytes]:
        try:
            rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
            if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 2 * _BYTES:
                return {}
            raw = rows.tobytes()
        except (OSError, ValueError, EOFError):  # not there, or damaged
            return {}
        step = 2 * _BYTES
        return {raw[at : at + _BYTES]: raw[at + _BYTES : at + step] for at in range(0, len(raw), step)}


def contents(images: ImageSet, seen: FilesSeen) -> list[str | DataError]:
    """The digest of each image in hexadecimal, or why it cannot be read."""

    def each(index: int) -> str | DataError:
        try:
            return seen.content(images, index).hex()
        except DataError as error:
            return error

    found = []
    with progress("look at files", len(images), unit="file") as shown:
        for content in map_ahead(each, len(images), threads=num_threads(), ahead=256):
            found.append(content)
            shown.advance()
    seen.save()
    return found


def _look(path: str) -> tuple[bytes, int] | None:
    """A key of what the file system says of a file, and the later of its times; None where it says nothing."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    times = (found.st_mtime_ns, found.st_ctime_ns)
    told = f"{found.st_size} {times[0]} {times[1]} {found.st_ino} ".encode() + os.fsencode(os.path.abspath(path))
    return hashlib.blake2b(told, digest_size=_BYTES).digest(), max(times)
