"""All networks together: how much the store may take, which files go first, how much there is, and emptying it.

The store is `<folder>/<network>/<file>.npy`. Only files of the store's own names go, never through a link.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

from circlet.download import cache_dir
from circlet.features import parts

LIMIT_VARIABLE = "CIRCLET_CACHE_LIMIT"
LIMIT_BYTES = 4_000_000_000
NETWORK = re.compile("[0-9a-f]{8,128}")

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# A process that takes longer to write one file is taken for dead, and what it left is removed.
_UNFINISHED_S = 3600.0


class File(NamedTuple):
    """A file of the store: its size, and when it was last used, in seconds."""

    path: Path
    num_bytes: int
    used: float


def default_folder() -> Path:
    """Where features are kept: the folder `features` of `circlet.download.cache_dir`."""
    return cache_dir() / "features"


def default_limit() -> int:
    """Bytes that the store may take: $CIRCLET_CACHE_LIMIT (2GB, 500MB, or bytes; 0 turns it off), else 4 GB.

    Raises ValueError for a variable that says something else.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return LIMIT_BYTES
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([A-Z]*)", text.upper())
    if not found or found[2] not in _UNITS:
        raise ValueError(f"{LIMIT_VARIABLE}: found {text!r}, expected bytes, such as 500MB, 2GB or 0")
    return int(float(found[1]) * _UNITS[found[2]])


def usage(folder: Path | None = None) -> dict[str, int]:
    """Bytes by network of what is kept in `folder`, None for the default one; nothing where there is no folder."""
    return {
        network.name: sum(file.num_bytes for file in [*_finished(network), *_unfinished(network)])
        for network in _networks(folder or default_folder())
    }


def clear(folder: Path | None = None) -> int:
    """Remove what is kept in `folder`, None for the default one; the number of bytes that went.

    Files of other names stay, and so does what links lead to. A process that reads the features goes on.
    """
    freed = 0
    for network in _networks(folder or default_folder()):
        freed += sum(_remove(file) for file in [*_finished(network), *_unfinished(network)])
        with contextlib.suppress(OSError):
            network.rmdir()
    return freed


def make_room(folder: Path, needed: int, limit: int, in_use: Set[Path]) -> bool:
    """Whether `needed` more bytes fit under the limit, having removed those files first that were not used longest.

    Files `in_use` stay. If removing all others is not enough, none is removed.
    """
    networks = _networks(folder)
    for file in [file for network in networks for file in _unfinished(network)]:
        if time.time() - file.used > _UNFINISHED_S:
            _remove(file)
    found = [file for network in networks for file in _finished(network)]
    others = sorted((file for file in found if file.path not in in_use), key=lambda file: file.used)
    excess = sum(file.num_bytes for file in found) + needed - limit
    if excess > sum(file.num_bytes for file in others):
        return False
    for file in others:
        if excess <= 0:
            break
        excess -= _remove(file)
    return excess <= 0


def _networks(folder: Path) -> list[Path]:
    """The folders of networks, links left out."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if NETWORK.fullmatch(entry.name)]
            return sorted(Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _finished(network: Path) -> Iterator[File]:
    for name, status in parts.files(network).items():
        yield File(network / name, status.st_size, status.st_mtime)


def _unfinished(network: Path) -> Iterator[File]:
    for name, status in parts.files(network, unfinished=True).items():
        yield File(network / name, status.st_size, status.st_mtime)


def _remove(file: File) -> int:
    """Remove a file; the bytes that it took, 0 if it could not be removed."""
    try:
        file.path.unlink(missing_ok=True)
    except OSError:
        return 0
    return file.num_bytes
