"""The journal: what was put and removed since the last segment, one record a call, on the disk before the call returns.

A record is whole, or was never acknowledged. After a record is on the disk, the length up to its end goes into one of
two slots in the header, in turn (in place: half a slot written leaves the other). So what a crash has cut off at the
end, beyond that length, is told from acknowledged records that are damaged or missing: the former goes without a word,
the latter is an error. What lies whole beyond that length counts: the process died between the two.

This is the one file of ours that is written in place. Only `circlet.vectors.embedded` writes it, under its lock.
"""

import os
import struct
import weakref
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from circlet.files import write_atomically
from circlet.vectors.opening import open_regular_file, read_whole
from circlet.vectors.protocol import Floats

MAGIC, VERSION = b"circlJRN", 1
_HEADER, _SLOT, _RECORD, _CRC = (
    struct.Struct("<8sII"),
    struct.Struct("<Q"),
    struct.Struct("<4sBIQI"),
    struct.Struct("<I"),
)
_SLOTS_AT = 64
EMPTY = 128
"""Length of a journal without records."""
_SLOT_BYTES = 32
_MARK = b"rec\n"
PUT, REMOVE = 1, 2
MAX_BYTES = 1 << 28
"""Of a journal; the store begins a new one long before."""


class Record(NamedTuple):
    """What a call did: items packed and their (n, dim) rows (kind PUT), or names (kind REMOVE) and None."""

    kind: int
    texts: list[bytes]
    vectors: Floats | None

    def num_bytes(self) -> int:
        """About what it takes in the file."""
        return (
            sum(map(len, self.texts)) + 4 * len(self.texts) + (self.vectors.nbytes if self.vectors is not None else 0)
        )


class Contents(NamedTuple):
    """What a journal holds: its records, and where the last of them ends."""

    records: list[Record]
    end: int


def create_journal(path: Path, dim: int) -> None:
    """Write an empty journal; an OSError names the file."""
    header = _HEADER.pack(MAGIC, VERSION, dim)
    whole = (header + _CRC.pack(crc32(header))).ljust(_SLOTS_AT, b"\0") + 2 * _slot(EMPTY).ljust(_SLOT_BYTES, b"\0")
    write_atomically(path, lambda file: file.write(whole))


def read_journal(path: Path, dim: int) -> Contents:
    """All that was acknowledged, and what else is whole; a ValueError that names the file if anything is damaged."""
    with open_regular_file(path) as file:
        raw = read_whole(file, EMPTY)
        acknowledged = _acknowledged(path, raw, dim)
        size = os.fstat(file.fileno()).st_size  # after that length: another process may be writing
        if size > MAX_BYTES:
            raise ValueError(f"{path}: found {size} bytes, expected at most {MAX_BYTES}")
        raw += read_whole(file, size - len(raw))
    if acknowledged > len(raw):
        raise ValueError(f"{path}: found {len(raw)} bytes, expected {acknowledged}: it has been cut off")
    records: list[Record] = []
    at = EMPTY
    while at < len(raw):
        try:
            record, at = _record(raw, at, dim)
        except ValueError as error:
            if at < acknowledged:
                raise ValueError(f"{path}: found damaged data at byte {at} ({error}), expected a record") from None
            break
        records.append(record)
    return Contents(records, at)


class JournalWriter:
    """Appends records to a journal that has been read; what was cut off at its end goes."""

    def __init__(self, path: Path, end: int) -> None:
        self.path, self.end = path, end
        self._failed = False
        self._acknowledged = 0
        self._file = open_regular_file(path, to_write=True)
        self._close = weakref.finalize(self, self._file.close)  # where nobody closes it
        try:
            self._file.truncate(end)
            os.fsync(self._file.fileno())
            self._acknowledge()
        except BaseException:
            self._close()
            raise

    def append(self, record: Record) -> None:
        """Have a record on the disk when this returns; an OSError that names the file leaves the journal as it was."""
        if self._failed:
            raise OSError(f"{self.path}: found that an earlier write failed, expected the store to be opened again")
        raw = _packed(record)
        try:
            self._write(self.end, raw)
            os.fsync(self._file.fileno())
        except OSError as error:
            self._take_back()
            raise OSError(f"{self.path}: could not be written ({error}); what was there before is unchanged") from error
        self.end += len(raw)
        with suppress(OSError):  # the record is there, and counts
            self._acknowledge()

    def close(self) -> None:
        """Close the file; closing again does nothing."""
        self._close()

    def _write(self, place: int, raw: bytes) -> None:
        self._file.seek(place)
        rest = memoryview(raw)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _acknowledge(self) -> None:
        """Needs no fsync: a process that dies leaves it to the system, and after a crash of that the records count."""
        self._write(_SLOTS_AT + _SLOT_BYTES * (self._acknowledged % 2), _slot(self.end))
        self._acknowledged += 1

    def _take_back(self) -> None:
        """Cut off what a failed write has left; if that fails too, nothing may come after it."""
        try:
            self._file.truncate(self.end)
            os.fsync(self._file.fileno())
        except OSError:  # it was not acknowledged: it goes when the store is opened again
            self._failed = True


def _slot(length: int) -> bytes:
    raw = _SLOT.pack(length)
    return raw + _CRC.pack(crc32(raw, 1))


def _acknowledged(path: Path, raw: bytes, dim: int) -> int:
    """The length up to which records were acknowledged."""
    if raw[:8] != MAGIC:
        raise ValueError(f"{path}: found another kind of file, expected a journal of vectors")
    if len(raw) < EMPTY:
        raise ValueError(f"{path}: found {len(raw)} bytes, expected at least {EMPTY}: it has been cut off")
    _, version, found_dim = _HEADER.unpack_from(raw)
    if version != VERSION:
        raise ValueError(f"{path}: found version {version}, expected {VERSION}: made by another version of circlet")
    if _CRC.unpack_from(raw, _HEADER.size)[0] != crc32(raw[: _HEADER.size]) or found_dim != dim:
        raise ValueError(f"{path}: found a damaged header, expected it as it was written")
    lengths: list[int] = []
    for at in (_SLOTS_AT, _SLOTS_AT + _SLOT_BYTES):
        length = _SLOT.unpack_from(raw, at)[0]
        if raw[at : at + _SLOT.size + _CRC.size] == _slot(length):
            lengths.append(length)
    if not lengths:
        raise ValueError(f"{path}: found a damaged header, expected the length that was acknowledged")
    return max(lengths)


def _packed(record: Record) -> bytes:
    ends = np.cumsum([len(text) for text in record.texts], dtype=np.uint32)
    parts: list[bytes] = [ends.astype("<u4").tobytes(), *record.texts]
    if record.vectors is not None:
        parts.append(record.vectors.astype("<f4").tobytes())
    payload = b"".join(parts)
    head = _RECORD.pack(_MARK, record.kind, len(record.texts), len(payload), crc32(payload))
    return head + _CRC.pack(crc32(head)) + payload


def _record(raw: bytes, at: int, dim: int) -> tuple[Record, int]:
    """The record at a place, and where it ends; a ValueError says what is wrong with it."""
    start = at + _RECORD.size + _CRC.size
    if start > len(raw):
        raise ValueError("cut off")
    mark, kind, count, length, checksum = _RECORD.unpack_from(raw, at)
    if mark != _MARK or crc32(raw[at : at + _RECORD.size]) != _CRC.unpack_from(raw, at + _RECORD.size)[0]:
        raise ValueError("no header of a record")
    payload = memoryview(raw)[start : start + length]
    if len(payload) < length:
        raise ValueError("cut off")
    if crc32(payload) != checksum:
        raise ValueError("another checksum")
    rows = 4 * dim * count if kind == PUT else 0
    text_bytes = length - 4 * count - rows
    if kind not in (PUT, REMOVE) or text_bytes < 0:
        raise ValueError("no record of this version")
    ends = np.frombuffer(payload[: 4 * count], "<u4").astype(np.int64)
    if count and (ends[-1] != text_bytes or (np.diff(ends, prepend=0) < 0).any()):
        raise ValueError("places outside of it")
    text = bytes(payload[4 * count : 4 * count + text_bytes])
    starts = [0, *ends[:-1].tolist()]
    texts = [text[first:last] for first, last in zip(starts, ends.tolist(), strict=False)] if count else []
    if kind == REMOVE:
        return Record(kind, texts, None), start + length
    vectors = np.frombuffer(payload[4 * count + text_bytes :], "<f4").reshape(count, dim)
    return Record(kind, texts, vectors), start + length
