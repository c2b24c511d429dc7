"""RecordIO, the container of MXNet that insightface's training sets come in: random access through a memory map.

A record is <magic, flag (3 bits) and length (29 bits)>, both uint32, and the payload, padded to four bytes. A payload
that contains the magic is stored in several parts (flags 1, 2 .. 2, 3), with the magic left out in between. The payload
of an image record is a header <flag, label, id, id2> as IfQQ; then, if flag > 0, so many float32 labels; then the
encoded image. Only what is asked for is read, and MXNet is not needed.
"""

import math
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from circlet.data.images import DataError, Ints
from circlet.data.listing import read_columns
from circlet.data.open_image import open_image
from circlet.data.regular import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

MAGIC = struct.pack("<I", 0xCED7230A)
_PART = struct.Struct("<4sI")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_MOST_LABELS, _MOST_PARTS = 4096, 4096  # of one record; an image has a label or two, and the magic by chance


class Record(NamedTuple):
    """An image record: whether it has several labels, these, and the encoded image (empty for a header record)."""

    flag: int
    labels: tuple[float, ...]
    image: bytes


def read_index(path: Path) -> tuple[Ints, Ints]:
    """Keys (N,) in ascending order and their byte offsets (N,), from lines "key<tab>offset".

    No number is below 0, and none stands twice in its column; else it is a DataError that names the line or the key.
    """
    columns = read_columns(path, {"key": "int64", "offset": "int64"}, "\t")
    keys, offsets = columns["key"], columns["offset"]
    for name, column in columns.items():
        if (below := np.flatnonzero(column < 0)).size:
            row = below[0]
            raise DataError(f"{path}, line {row + 1}: found the {name} {column[row]}, expected at least 0")
    order = np.argsort(keys, kind="stable")
    keys, offsets = keys[order], offsets[order]
    if (repeated := keys[1:][keys[1:] == keys[:-1]]).size:
        raise DataError(f"{path}: found the key {repeated[0]} twice, expected each key once")
    by_offset = np.argsort(offsets, kind="stable")
    if (again := np.flatnonzero(np.diff(offsets[by_offset]) == 0)).size:
        one, two = keys[by_offset[again[0]]], keys[by_offset[again[0] + 1]]
        raise DataError(f"{path}: found the keys {one} and {two} at one offset, expected a record for each")
    return keys, offsets


class RecordFile:
    """A file of records, mapped into memory once in each process that reads it; pickles as its path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._map: mmap.mmap | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_map": None}

    def read(self, key: int, offset: int, *, labels_only: bool = False) -> Record:
        """The record at `offset`; a DataError that names file and key if it is damaged or cut off.

        labels_only: leave the image where it is.
        """
        payload = self._payload(key, offset, labels_only=labels_only)
        if len(payload) < _HEADER.size:
            raise self._damaged(key, offset, f"a payload of {len(payload)} bytes", f"at least {_HEADER.size}")
        flag, label, _, _ = _HEADER.unpack_from(payload)
        if flag > _MOST_LABELS:
            raise self._damaged(key, offset, f"{flag} labels", f"at most {_MOST_LABELS}")
        end = _HEADER.size + 4 * flag
        if len(payload) < end:
            raise self._damaged(key, offset, f"{len(payload)} bytes for {flag} labels", f"at least {end}")
        labels = struct.unpack_from(f"<{flag}f", payload, _HEADER.size) if flag else (label,)
        if not all(map(math.isfinite, labels[:2])):  # the class, or a range of keys
            raise self._damaged(key, offset, f"the labels {labels[:2]}", "finite numbers")
        return Record(flag, labels, payload[end:])

    def require_within(self, keys: Ints, offsets: Ints) -> None:
        """A DataError that names the first record of these (N,) keys and offsets that begins beyond the file."""
        beyond = np.flatnonzero(offsets > len(self._mapped()) - _PART.size)
        if beyond.size:
            key, offset = int(keys[beyond[0]]), int(offsets[beyond[0]])
            raise self._damaged(key, offset, f"the end of the file at byte {len(self._mapped())}", "a record")

    def integer(self, key: int, offset: int, label: float, most: int) -> int:
        """A label of a record as a whole number from 0 to `most`; else a DataError that names file and key."""
        if not 0 <= label <= most or label != int(label):
            raise self._damaged(key, offset, f"the label {label:g}", f"a whole number from 0 to {most}")
        return int(label)

    def _payload(self, key: int, offset: int, *, labels_only: bool) -> bytes:
        """Join the parts of a record. A slice of the map copies so many bytes, never the map."""
        content, position, parts = self._mapped(), offset, list[bytes]()
        while True:
            if not 0 <= position <= len(content) - _PART.size:
                raise self._damaged(key, offset, f"the end of the file at byte {len(content)}", "a record")
            magic, word = _PART.unpack_from(content, position)
            kind, length = word >> 29, word & (1 << 29) - 1
            start = position + _PART.size
            if magic != MAGIC or kind > _LAST or (kind in (_WHOLE, _FIRST)) != (not parts):
                raise self._damaged(key, offset, f"{content[position:start].hex()} at byte {position}", "a record")
            if start + length > len(content):
                raise self._damaged(key, offset, f"{len(content) - start} of its bytes", f"{length}")
            if labels_only and length >= _HEADER.size:
                num_labels = _HEADER.unpack_from(content, start)[0]
                return content[start : start + min(length, _HEADER.size + 4 * num_labels)]
            parts.append(content[start : start + length])
            if len(parts) > _MOST_PARTS:
                raise self._damaged(key, offset, f"more than {_MOST_PARTS} parts", "fewer")
            if kind in (_WHOLE, _LAST):
                return MAGIC.join(parts)
            position = start + length + -length % 4

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            try:
                with open_regular(self.path) as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:  # ValueError: an empty file, or no regular one
                raise DataError(f"{self.path}: found no readable file ({error}), expected records") from error
        return self._map

    def _damaged(self, key: int, offset: int, found: str, expected: str) -> DataError:
        return DataError(
            f"{self.path}, record {key} (byte {offset}): found {found}, expected {expected}; "
            "the file is cut off or damaged, or the index is of another"
        )


class RecordReader:
    """Reader of images: image i is the record `keys[i]` at `offsets[i]`."""

    def __init__(self, file: RecordFile, keys: Ints, offsets: Ints) -> None:
        self.file, self.keys, self.offsets = file, keys, offsets

    def __call__(self, index: int) -> "Image":
        """Return image `index`, not decoded yet."""
        return open_image(self.file.read(int(self.keys[index]), int(self.offsets[index])).image)

    def place(self, index: int) -> str:
        """The file and the record."""
        return f"{self.file.path}, record {self.keys[index]}"
