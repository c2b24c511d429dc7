"""The files of one network: where each key lies, reading rows, dropping what is damaged, and merging small files.

Several processes may read and write one shelf without knowing of each other. Files never change. One is removed only
where each of its keys is in a file that counts for more (`circlet.features.parts` says which), so that two processes
that tidy up at once never remove both copies; who has a removed file mapped goes on reading it.
"""

import contextlib
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from circlet.features import parts
from circlet.features.parts import Damaged, Floats, Ints, Part, Records
from circlet.terminal import say_once

_BLOCK_BYTES = 1 << 22
_LOOKS = 5
_ROWS_TRIED = 8


class Found(NamedTuple):
    """What was there: `rows` (n, dim) float32, nan where there is none, and `missing` (m,) the indices of those.

    While nobody has said what dim is, it is 0.
    """

    rows: Floats
    missing: Ints


class Shelf:
    """The files in `folder`, of the network of that name, with `dim` numbers a row (None: as found)."""

    def __init__(self, folder: Path, dim: int | None) -> None:
        self.folder, self.dim = folder, dim
        self.seed = crc32(folder.name.encode())
        self.used: set[Path] = set()  # since the caller emptied it: read from, or written
        self._parts: list[Part] = []  # those that count for more come later
        self._starts: Ints = np.zeros(1, np.int64)  # number of the first record of each file, counted through all files
        self._places: dict[bytes, int] = {}  # number of the record of each key
        self._dropped: set[str] = set()  # not looked at again, even if they could not be removed

    def take(self, keys: Sequence[bytes]) -> Found:
        """The rows of some keys; damaged ones are dropped, told of, and missing."""
        while True:
            self._look()
            places = np.fromiter((self._places.get(key, -1) for key in keys), np.int64, len(keys))
            rows: Floats = np.empty((len(keys), self.dim or 0), np.float32)
            owners = np.searchsorted(self._starts, places, side="right") - 1
            if all(self._gather(rows, places, owners, number) for number in np.unique(owners[places >= 0]).tolist()):
                missing = np.flatnonzero(places < 0)
                rows[missing] = np.nan
                return Found(rows, missing)

    def write(self, blocks: Sequence[Records]) -> None:
        """Write records as a new file, which counts for more than what is there; an OSError if that fails."""
        if self.folder.is_symlink():
            raise OSError(f"{self.folder} is a link")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / parts.new_name(after=next(reversed(parts.files(self.folder)), ""))
        parts.write(path, blocks)
        self.used.add(path)

    def tidy(self, file_bytes: int) -> None:
        """Merge the small files among those used into files of about `file_bytes`, and remove what has no use left."""
        self._look()
        small = [part for part in self._parts if part.path in self.used and part.records.nbytes < file_bytes // 2]
        groups: list[list[Part]] = [[]]
        for part in small:
            groups[-1].append(part)
            if sum(part.records.nbytes for part in groups[-1]) >= file_bytes:
                groups.append([])
        with contextlib.suppress(OSError):  # then they stay as they are
            live = self._live()
            for group in groups:
                if len(group) > 1:
                    self.write([parts.chosen(part.records, live[part]) for part in group])
        self._look()
        for part, records in self._live().items():
            if not len(records):
                self.used.discard(part.path)
                _remove(part.path)

    def _look(self) -> None:
        """Take note of files that came, went or changed since the last look."""
        known = {part.path.name: part for part in self._parts}
        for _ in range(_LOOKS):  # another process that merges has its new file in place before the old ones go
            there = {name: parts.identity(status) for name, status in parts.files(self.folder).items()}
            there = {name: identity for name, identity in there.items() if name not in self._dropped}
            for name, identity in there.items():
                if name not in known or known[name].identity != identity:
                    known.pop(name, None)
                    if part := self._open(name):
                        known[name] = part
            found = [known[name] for name in there if name in known]
            if len(found) == len(there):
                break
        if found == self._parts:
            return
        self._parts = found
        self._places = {}
        counts = [len(part.keys) for part in self._parts]
        self._starts = np.array([0, *itertools.accumulate(counts)], np.int64)
        for part, start in zip(self._parts, self._starts.tolist(), strict=False):
            self._places.update(zip(part.keys, range(start, start + len(part.keys)), strict=True))

    def _open(self, name: str) -> Part | None:
        """A file, or None if it has gone or is none of ours."""
        path = self.folder / name
        try:
            part = parts.read(path)
            if self.dim not in (None, part.dim):
                raise Damaged(f"its rows have {part.dim} numbers, not {self.dim}")
            some = part.records[:: max(len(part.records) // _ROWS_TRIED, 1)]
            if not (parts.checksums(some.copy(), self.seed) == some["crc"]).any():
                raise Damaged("its rows are damaged, or of another network")
        except FileNotFoundError:
            return None
        except OSError as error:  # too many open files, say: nothing to remove it for
            self._dropped.add(name)
            say_once(f"features: {path} cannot be read ({error}): what it holds is computed again")
            return None
        except Damaged as error:
            self._drop(path, f"features: {path} is damaged ({error}): what it held is computed again")
            return None
        self.dim = part.dim
        return part

    def _gather(self, rows: Floats, places: Ints, owners: Ints, number: int) -> bool:
        """Fill in the rows that lie in one file; False if some of them are damaged, and the file has been dropped."""
        part = self._parts[number]
        wanted = np.flatnonzero(owners == number)
        with contextlib.suppress(OSError):  # it has gone, or is read-only; what is mapped can be read all the same
            os.utime(part.path)
        self.used.add(part.path)
        step = max(_BLOCK_BYTES // part.records.dtype.itemsize, 1)
        for first in range(0, len(wanted), step):
            block = wanted[first : first + step]
            records = parts.chosen(part.records, places[block] - self._starts[number])
            if not np.array_equal(parts.checksums(records, self.seed), records["crc"]):
                self._rescue(part)
                return False
            rows[block] = records["row"]
        return True

    def _rescue(self, part: Part) -> None:
        """Drop a file of which rows are damaged, and keep its other rows in a new one."""
        sums = np.concatenate([parts.checksums(piece, self.seed) for piece in parts.pieces([part.records])])
        good = np.flatnonzero(sums == part.records["crc"])
        if len(good):
            with contextlib.suppress(OSError):  # then they are computed again too
                self.write([part.records[good]])
        bad = len(sums) - len(good)
        self._drop(part.path, f"features: {bad} of {len(sums)} rows in {part.path} are damaged: computed again")

    def _drop(self, path: Path, reason: str) -> None:
        self._dropped.add(path.name)
        say_once(reason)
        _remove(path)

    def _live(self) -> dict[Part, Ints]:
        """Which records of each file count, since no later file has their keys."""
        places = np.sort(np.fromiter(self._places.values(), np.int64, len(self._places)))
        bounds = np.searchsorted(places, self._starts)
        return {
            part: places[bounds[number] : bounds[number + 1]] - self._starts[number]
            for number, part in enumerate(self._parts)
        }


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps what is mapped, others what is read-only: the next one tries
        path.unlink()
