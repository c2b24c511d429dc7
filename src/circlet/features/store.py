"""The store of one network: rows by keys; what is there is read, the rest is computed once and kept.

Every few seconds of computing go into a file of their own, so a process that is killed loses no more than that; small
files are merged at the end. Nothing that goes wrong on the disk stops the computing. It is for one thread a store; any
number of processes may share a folder.
"""

import time
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circlet.features import parts, room
from circlet.features.parts import KEY_BYTES, Floats, Ints
from circlet.features.shelf import Found, Shelf
from circlet.terminal import say_once

# What a killed process loses at most; less makes more files to be merged.
SECONDS_BETWEEN_FILES = 10.0
FILE_BYTES = 64_000_000
_MANY_FILES = 32

Rows = Tensor | npt.NDArray[np.floating[Any]]
Compute = Callable[[Ints], Iterable[tuple[npt.ArrayLike, Rows]]]


class FeatureStore:
    """Rows of `dim` float32 numbers by keys of 16 bytes, kept in `<folder>/<network>`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = FeatureStore("0123abcd", folder=Path(folder))
    ...     keys = [bytes(15) + bytes([i]) for i in (3, 4, 3)]
    ...     print(store.rows(keys, lambda missing: [(missing, torch.ones(len(missing), 2))]))
    ...     print(store.rows(keys[:1], lambda missing: []))
    tensor([[1., 1.],
            [1., 1.],
            [1., 1.]])
    tensor([[1., 1.]])

    network: hexadecimal digits (8 to 128) of all that a row depends on beside its key: `circlet.features.digest` of
    weights, preprocessing and view. dim: None takes that of the rows found or added first.
    folder: None is `circlet.features.default_folder()`. limit_bytes: of the whole folder; None is `default_limit()`;
    0 keeps and reads nothing. Beyond it go the files first that nobody used for longest, those of other networks too.

    A folder that cannot be written, a full disk, or a limit that is too low: said once on standard error, and rows are
    computed all the same. So are those of damaged files, which are removed.
    """

    def __init__(
        self, network: str, dim: int | None = None, *, folder: Path | None = None, limit_bytes: int | None = None
    ) -> None:
        if not room.NETWORK.fullmatch(network):
            raise ValueError(f"network: found {network!r}, expected 8 to 128 hexadecimal digits in lower case")
        if dim is not None and dim < 1:
            raise ValueError(f"dim: found {dim}, expected at least 1")
        if limit_bytes is not None and limit_bytes < 0:
            raise ValueError(f"limit_bytes: found {limit_bytes}, expected 0 or more")
        self.network, self.dim = network, dim
        self.folder = room.default_folder() if folder is None else Path(folder)
        self.limit_bytes = room.default_limit() if limit_bytes is None else limit_bytes
        self._shelf = Shelf(self.folder / network, dim)
        self._writes = self.limit_bytes > 0
        # A small limit is filled in small files, to be used as far as it goes.
        self._file_bytes = min(FILE_BYTES, max(self.limit_bytes // 16, 1))

    def find(self, keys: Sequence[bytes]) -> Found:
        """The rows of (n,) keys: `rows` (n, dim), nan where there is none, and `missing` (m,), the indices of those."""
        _check_keys(keys)
        self._shelf.used.clear()
        return self._find(keys)

    def add(self, keys: Sequence[bytes], rows: Rows) -> None:
        """Keep (n, dim) rows under (n,) keys; of a key that is there already, the new row counts.

        Raises ValueError for rows that are not finite or of another size than those that are there.
        """
        _check_keys(keys)
        self._keep(keys, self._check_rows("rows", rows, len(keys)), in_use=set())
        if len(self._shelf.used) > _MANY_FILES:
            self._shelf.tidy(self._file_bytes)

    def rows(self, keys: Sequence[bytes], compute: Compute) -> Tensor:
        """The rows of (n,) keys as (n, dim) float32, in their order; those that are not there are computed and kept.

        compute: a function of the indices (m,) of the keys whose rows are missing, each key once, that yields
        (indices, rows) in batches of any size and order until it gave each of them; best a generator. It is not called
        if nothing is missing. If it fails, what it gave before is kept.

        Raises ValueError for rows that are not finite or of another size, and for indices that were not asked for or
        are never given.
        """
        _check_keys(keys)
        self._shelf.used.clear()
        rows, missing = self._find(keys)
        first: dict[bytes, int] = {}
        source = np.fromiter((first.setdefault(key, i) for i, key in enumerate(keys)), np.int64, len(keys))
        asked = missing[source[missing] == missing]
        if len(asked):
            rows = self._compute(keys, rows, asked, compute)
            rows[missing] = rows[source[missing]]
        if self._writes:
            self._shelf.tidy(self._file_bytes)
        return torch.from_numpy(rows)

    def _find(self, keys: Sequence[bytes]) -> Found:
        if self.limit_bytes == 0:
            rows: Floats = np.full((len(keys), self.dim or 0), np.nan, np.float32)
            return Found(rows, np.arange(len(keys)))
        found = self._shelf.take(keys)
        self.dim = self._shelf.dim
        return found

    def _compute(self, keys: Sequence[bytes], rows: Floats, asked: Ints, compute: Compute) -> Floats:
        """Fill in the rows that are asked for, and write them down now and then."""
        waits = np.zeros(len(keys), bool)
        waits[asked] = True
        pending: list[int] = []
        written = time.monotonic()
        try:
            for given, batch in compute(asked.copy()):
                indices = _check_indices(given, waits)
                new = self._check_rows("compute", batch, len(indices))
                if rows.shape[1] != new.shape[1]:  # nobody had said dim
                    rows = np.full((len(keys), new.shape[1]), np.nan, np.float32)
                waits[indices] = False
                rows[indices] = new
                pending += indices.tolist()
                late = time.monotonic() - written > SECONDS_BETWEEN_FILES
                if late or len(pending) * new[0:1].nbytes >= self._file_bytes:
                    self._keep([keys[i] for i in pending], rows[pending], self._shelf.used)
                    pending, written = [], time.monotonic()
        finally:
            if pending:
                self._keep([keys[i] for i in pending], rows[pending], self._shelf.used)
        if waits.any():
            index = int(np.flatnonzero(waits)[0])
            raise ValueError(f"compute: found no row for index {index}, expected one for each of {len(asked)} indices")
        return rows

    def _keep(self, keys: Sequence[bytes], rows: Floats, in_use: Set[Path]) -> None:
        """Write rows down, in files of the usual size, as far as the disk allows and the limit beside files in use."""
        itemsize = parts.record_type(rows.shape[1]).itemsize
        step = max(self._file_bytes // itemsize, 1)
        for first in range(0, len(keys) if self._writes else 0, step):
            records = parts.records_of(keys[first : first + step], rows[first : first + step], self._shelf.seed)
            try:
                if not room.make_room(self.folder, len(records) * itemsize + 256, self.limit_bytes, in_use):
                    limit = f"{self.limit_bytes / 1e6:,.0f} MB ({room.LIMIT_VARIABLE})"
                    say_once(f"features are not kept beyond the limit of {limit} in {self.folder}")
                    return
                self._shelf.write([records])
            except OSError as error:
                say_once(f"features are not kept: {self.folder}: {error.__cause__ or error}")
                self._writes = False
                return

    def _check_rows(self, name: str, rows: Rows, count: int) -> Floats:
        """Rows as finite float32 (count, dim)."""
        if isinstance(rows, Tensor):
            rows = rows.detach().to("cpu", torch.float32).numpy()
        with np.errstate(over="ignore"):  # told of below
            found: Floats = np.asarray(rows, np.float32)
        if found.ndim != 2 or len(found) != count or not found.shape[1]:
            raise ValueError(f"{name}: found rows of shape {found.shape}, expected ({count}, {self.dim or 'dim'})")
        if found.shape[1] != (self.dim or found.shape[1]):
            expected = f"{self.dim}, as others of network {self.network}"
            raise ValueError(f"{name}: found rows of {found.shape[1]} numbers, expected {expected}")
        if not np.isfinite(found).all():
            index = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
            raise ValueError(f"{name}: found nan or an infinite number in row {index}, expected finite ones")
        self.dim = self._shelf.dim = found.shape[1]
        return found


def _check_keys(keys: Sequence[bytes]) -> None:
    for index, key in enumerate(keys):
        if type(key) is not bytes or len(key) != KEY_BYTES:
            found = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
            raise ValueError(f"keys: found {found} at index {index}, expected {KEY_BYTES} bytes each")


def _check_indices(given: npt.ArrayLike, waits: npt.NDArray[np.bool_]) -> Ints:
    """Indices that were asked for and not yet given, each once."""
    indices: Ints = np.asarray(given)
    if not indices.size:
        return np.zeros(0, np.int64)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ValueError(f"compute: found indices {indices.dtype} {indices.shape}, expected integers (batch,)")
    inside = (indices >= 0) & (indices < len(waits))
    asked = inside & waits[np.where(inside, indices, 0)]
    if not asked.all():
        raise ValueError(f"compute: found a row for index {indices[~asked][0]}, which was not asked for, or twice")
    if len(np.unique(indices)) != len(indices):
        raise ValueError("compute: found an index twice in a batch, expected each once")
    return indices.astype(np.int64)
