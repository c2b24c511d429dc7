"""One file of vectors: written whole, never changed, memory-mapped, never trusted.

After a header of a page come, each at a multiple of 64 bytes, the sections of `Layout`: vectors, a checksum for each
of them, their order of addition, their items as one text with its ends, the names' hashes in ascending order with
their rows, and what this segment removes from earlier ones as (segment, row).

Everything but the vectors is checked against its checksum when the file is opened; a vector when it is first read, for
which the store asks (`check`): the sum of its 64-bit words (32-bit where dim is odd) modulo 2^64, which any flipped
bit changes, at the speed of the memory. Numbers out of the file are held against its size before anything is done with
them.
"""

import io
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from circlet.files import write_atomically
from circlet.vectors.checks import MAX_DIM
from circlet.vectors.opening import open_regular_file, read_whole
from circlet.vectors.protocol import Floats
from circlet.vectors.tail import Ints
from circlet.vectors.texts import Words, name_of

MAGIC, VERSION = b"circlVEC", 1
_HEADER = struct.Struct("<8sIIQQQ7I")
_HEADER_BYTES, _ALIGNED = 4096, 64
_ROWS_AT_ONCE = 1 << 12
_CHECKED = ("sums", "order", "ends", "text", "hashes", "hash_rows", "removed")


class Source(Protocol):
    """Where the rows of a new segment come from: a segment, or the tail."""

    @property
    def vectors(self) -> Floats:
        """(n, dim) float32."""

    @property
    def order(self) -> Ints:
        """(n,) places in the order of addition."""

    def text(self, row: int) -> bytes:
        """The item of a row, packed."""

    def row_hashes(self) -> Words:
        """The hash of the name of each row."""

    def check(self, rows: Any = None) -> None:
        """Hold vectors against their checksums."""


class Layout(NamedTuple):
    """What the header says, and where each section lies for it."""

    dim: int
    rows: int
    text_bytes: int
    removed: int

    def sections(self) -> dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]]:
        """(offset, type, shape) of each section, in the order of the file."""
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "vectors": ("<f4", (self.rows, self.dim)),
            "sums": ("<u8", (self.rows,)),
            "order": ("<i8", (self.rows,)),
            "ends": ("<u8", (self.rows,)),
            "text": ("<u1", (self.text_bytes,)),
            "hashes": ("<u8", (self.rows,)),
            "hash_rows": ("<u4", (self.rows,)),
            "removed": ("<i8", (self.removed, 2)),
        }
        found, at = {}, _HEADER_BYTES
        for name, (kind, shape) in shapes.items():
            found[name] = at, np.dtype(kind), shape
            size = np.dtype(kind).itemsize
            for count in shape:
                size *= count
            at += -(-size // _ALIGNED) * _ALIGNED
        found["end"] = at, np.dtype("<u1"), (0,)
        return found

    @property
    def num_bytes(self) -> int:
        """Length of the file."""
        return self.sections()["end"][0]


def row_sums(rows: Floats) -> Words:
    """The checksum of each of (n, dim) rows."""
    words = rows.view("<u8" if rows.shape[1] % 2 == 0 else "<u4")
    found: Words = np.add.reduce(words, axis=1, dtype=np.uint64)
    return found


class Segment:
    """An open segment; `number` is its own, `crc` that of its header, by which the manifest knows it."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, int(path.stem.partition("-")[2])
        with open_regular_file(path) as file:
            layout, checksums, self.crc = _read_header(path, file)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # copy: torch takes no read-only arrays
        sections = {name: self._array(*place) for name, place in layout.sections().items()}
        for name, expected in zip(_CHECKED, checksums, strict=True):
            if crc32(sections[name]) != expected:
                raise ValueError(
                    f"{path}: found damaged data ({name}: another checksum), expected it as it was written"
                )
        self.vectors: Floats = sections["vectors"]
        self.order: Ints = sections["order"]
        self.removed: npt.NDArray[np.int64] = sections["removed"]
        self._sums, self._ends, self._text = sections["sums"], sections["ends"], sections["text"]
        self._hashes, self._hash_rows = sections["hashes"], sections["hash_rows"]
        self._checked = np.zeros(len(self), bool)
        ends = self._ends.astype(np.int64)
        if len(self) and ((np.diff(ends, prepend=0) < 0).any() or ends[-1] != layout.text_bytes
                          or self._hash_rows.max() >= len(self)):  # fmt: skip
            raise ValueError(f"{path}: found places outside of it, expected those of {len(self)} rows")
        self._let_go(layout.sections()["sums"][0])

    def __len__(self) -> int:
        return len(self.order)

    def _array(self, offset: int, kind: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        count = int(np.prod(shape))
        if not count:
            return np.empty(shape, kind)
        return np.frombuffer(self._map, kind, count, offset).reshape(shape)

    def _let_go(self, first: int) -> None:
        """Free the memory of what lies from a place on, which has only been checked: it is read again when needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            first += -first % mmap.PAGESIZE
            if first < len(self._map):
                self._map.madvise(mmap.MADV_DONTNEED, first, len(self._map) - first)

    def text(self, row: int) -> bytes:
        """The item of a row, packed."""
        first = int(self._ends[row - 1]) if row else 0
        raw: bytes = self._text[first : int(self._ends[row])].tobytes()
        return raw

    def find(self, names: Sequence[bytes], hashed: Words) -> Ints:
        """The row of each name, -1 where there is none."""
        found: Ints = np.full(len(names), -1, np.int64)
        if not len(self):
            return found
        places = np.searchsorted(self._hashes, hashed)
        inside = np.minimum(places, len(self) - 1)
        for i in np.flatnonzero(self._hashes[inside] == hashed).tolist():
            for place in range(int(places[i]), len(self)):
                if self._hashes[place] != hashed[i]:
                    break
                row = int(self._hash_rows[place])
                if name_of(self.text(row)) == names[i]:
                    found[i] = row
                    break
        return found

    def row_hashes(self) -> Words:
        """The hash of the name of each row."""
        found: Words = np.empty(len(self), np.uint64)
        found[self._hash_rows] = self._hashes
        return found

    def check(self, rows: Any = None) -> None:
        """Hold vectors against their checksums, unless that was done before: those of `rows`, or all.

        rows: a slice, or (n,) integers. A ValueError names the file.
        """
        if rows is None:
            for first in range(0, len(self), _ROWS_AT_ONCE):
                self.check(slice(first, first + _ROWS_AT_ONCE))
            return
        if self._checked[rows].all():
            return
        if not np.array_equal(row_sums(np.ascontiguousarray(self.vectors[rows])), self._sums[rows]):
            raise ValueError(f"{self.path}: found damaged vectors, expected them as they were written")
        self._checked[rows] = True


def write_segment(
    path: Path, dim: int, sources: Sequence[Source], chosen: Sequence[Ints], removed: npt.NDArray[np.int64],
    advance: Callable[[int], object] = lambda count: None,
) -> None:  # fmt: skip
    """Write the chosen rows of some sources as a segment, in order of addition: whole, or not at all.

    chosen: (n,) rows of each source. removed: (m, 2), number and row in earlier segments. advance: told of rows done.
    An OSError names the file; a ValueError, the file that a damaged vector was read from.
    """
    order = np.concatenate([each.order[rows] for each, rows in zip(sources, chosen, strict=True)])
    by_order = np.argsort(order, kind="stable")
    source = np.repeat(np.arange(len(sources)), [len(rows) for rows in chosen])[by_order]
    row = np.concatenate(list(chosen))[by_order]
    lengths = np.fromiter((len(sources[i].text(j)) for i, j in _pairs(source, row)), np.int64, len(row))
    ends = np.cumsum(lengths).astype("<u8")
    layout = Layout(dim, len(row), int(ends[-1]) if len(row) else 0, len(removed))
    names = np.concatenate([each.row_hashes()[rows] for each, rows in zip(sources, chosen, strict=True)])[by_order]
    by_hash = np.argsort(names, kind="stable")

    def fill(file: BinaryIO) -> None:
        places, sums, text_crc = layout.sections(), [], 0
        file.seek(_HEADER_BYTES)
        for first in range(0, len(row), _ROWS_AT_ONCE):
            rows = gathered(dim, sources, source[first : first + _ROWS_AT_ONCE], row[first : first + _ROWS_AT_ONCE])
            sums.append(row_sums(rows))
            file.write(rows.tobytes())
            advance(len(rows))
        file.seek(places["text"][0])
        for first in range(0, len(row), _ROWS_AT_ONCE):
            pairs = _pairs(source[first : first + _ROWS_AT_ONCE], row[first : first + _ROWS_AT_ONCE])
            raw = b"".join(sources[i].text(j) for i, j in pairs)
            text_crc = crc32(raw, text_crc)
            file.write(raw)
        arrays: dict[str, npt.NDArray[Any]] = {
            "sums": np.concatenate(sums) if sums else np.empty(0, "<u8"),
            "order": order[by_order],
            "ends": ends,
            "hashes": names[by_hash],
            "hash_rows": by_hash,
            "removed": removed,
        }
        checksums = {"text": text_crc}
        for name, array in arrays.items():
            raw = array.astype(places[name][1]).tobytes()
            checksums[name] = crc32(raw)
            file.seek(places[name][0])
            file.write(raw)
        file.truncate(layout.num_bytes)
        header = _HEADER.pack(MAGIC, VERSION, *layout, *(checksums[name] for name in _CHECKED))
        file.seek(0)
        file.write(header + struct.pack("<I", crc32(header)))

    write_atomically(path, fill)


def _pairs(source: Ints, row: Ints) -> Iterator[tuple[int, int]]:
    return zip(source.tolist(), row.tolist(), strict=True)


def gathered(dim: int, sources: Sequence[Source], source: Ints, row: Ints) -> Floats:
    """The (n, dim) vectors at some rows of some sources, by number, each checked."""
    rows: Floats = np.empty((len(row), dim), np.float32)
    for i in np.unique(source).tolist():
        wanted = np.flatnonzero(source == i)
        sources[i].check(row[wanted])
        rows[wanted] = sources[i].vectors[row[wanted]]
    return rows


def _read_header(path: Path, file: io.FileIO) -> tuple[Layout, tuple[int, ...], int]:
    raw = read_whole(file, _HEADER.size + 4)
    if raw[:8] != MAGIC:
        raise ValueError(f"{path}: found another kind of file, expected a segment of vectors")
    if len(raw) < _HEADER.size + 4:
        raise ValueError(f"{path}: found {len(raw)} bytes, expected more: it has been cut off")
    version = struct.unpack_from("<I", raw, 8)[0]
    if version != VERSION:
        raise ValueError(f"{path}: found version {version}, expected {VERSION}: made by another version of circlet")
    crc = crc32(raw[:-4])
    if crc != struct.unpack("<I", raw[-4:])[0]:
        raise ValueError(f"{path}: found a damaged header, expected it as it was written")
    _, _, *numbers = _HEADER.unpack(raw[:-4])
    layout = Layout(*numbers[:4])
    found = os.fstat(file.fileno()).st_size
    if not 1 <= layout.dim <= MAX_DIM or layout.rows >= 1 << 32 or layout.num_bytes != found:
        raise ValueError(f"{path}: found {found} bytes, expected {layout.num_bytes}: it has been cut off, or changed")
    return layout, tuple(numbers[4:]), crc
