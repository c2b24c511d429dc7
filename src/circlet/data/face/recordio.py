"""RecordIO, the container of MXNet that insightface's training sets come in: random access through a memory map.

A record is <magic, flag (3 bits) and length (29 bits)>, both uint32, and the payload, padded to four bytes. A payload
that contains the magic is stored in several parts (flags 1, 2 .. 2, 3), with the magic left out in between. The payload
of an image record is a header <flag, label, id, id2> as IfQQ; then, if flag > 0, so many float32 labels; then the
encoded image. Only what is asked for is read, and MXNet is not needed.
"""

import io
import math
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from circlet.data.images import DataError, Ints
from circlet.data.listing import read_columns

if TYPE_CHECKING:
    from PIL.Image import Image

MAGIC = struct.pack("<I", 0xCED7230A)
_PART = struct.Struct("<4sI")
_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


class Record(NamedTuple):
    """An image record: whether it has several labels, these, and the encoded image (empty for a header record)."""

    flag: int
    labels: tuple[float, ...]
    image: bytes


def read_index(path: Path) -> tuple[Ints, Ints]:
    """Keys (N,) in ascending order and their byte offsets (N,), from lines "key<tab>offset"."""
    columns = read_columns(path, {"key": "int64", "offset": "int64"}, "\t")
    keys, offsets = columns["key"], columns["offset"]
    order = np.argsort(keys, kind="stable")
    keys, offsets = keys[order], offsets[order]
    if (repeated := keys[1:][keys[1:] == keys[:-1]]).size:
        raise DataError(f"{path}: found the key {repeated[0]} twice, expected each key once")
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
        end = _HEADER.size + 4 * flag
        if len(payload) < end:
            raise self._damaged(key, offset, f"{len(payload)} bytes for {flag} labels", f"at least {end}")
        labels = struct.unpack_from(f"<{flag}f", payload, _HEADER.size) if flag else (label,)
        if not all(map(math.isfinite, labels[:2])):  # the class, or a range of keys
            raise self._damaged(key, offset, f"the labels {labels[:2]}", "finite numbers")
        return Record(flag, labels, payload[end:])

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
            if kind in (_WHOLE, _LAST):
                return MAGIC.join(parts)
            position = start + length + -length % 4

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            try:
                with open(self.path, "rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:  # ValueError: an empty file
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
        from PIL import Image

        return Image.open(io.BytesIO(self.file.read(int(self.keys[index]), int(self.offsets[index])).image))
