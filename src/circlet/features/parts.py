"""One file of the store: an .npy of records (key, checksum, row), written whole, never changed, read by memory-mapping.

The records are `[("key", "V16"), ("crc", "<u4"), ("row", "<f4", (dim,))]`; the checksum is the CRC-32 of the network's
name, the key and the row, so that a file of another network does not pass either. A file's name is the time at which it
was written, in nanoseconds, and some random digits: of two files with the same key, the later one counts.

Nothing here is trusted: pickles are refused, and so are links, other types and files that are too short.
"""

import os
import re
import secrets
import stat
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from circlet.files import write_atomically
from circlet.leftovers import WRITER

KEY_BYTES = 16

Records = np.ndarray[Any, np.dtype[np.void]]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_ROW_AT = KEY_BYTES + 4
_NAME = re.compile(r"(\d{20})-[0-9a-f]{8}\.npy")
_UNFINISHED = re.compile(rf"\.{_NAME.pattern}\.{WRITER}\.part")


class Damaged(Exception):
    """A file that is not what the store writes; the message says in what."""


@dataclass(frozen=True, eq=False)
class Part:
    """An open file: its records, memory-mapped, and their keys in memory. `identity` changes if the file does."""

    path: Path
    records: Records
    keys: list[bytes]
    identity: tuple[int, int]

    @property
    def dim(self) -> int:
        """Numbers a row."""
        dim: int = self.records.dtype["row"].shape[0]
        return dim


def record_type(dim: int) -> np.dtype[np.void]:
    """The type of a record with `dim` numbers."""
    return np.dtype([("key", f"V{KEY_BYTES}"), ("crc", "<u4"), ("row", "<f4", (dim,))])


def records_of(keys: Sequence[bytes], rows: Floats, seed: int) -> Records:
    """Records of (n,) keys and their (n, dim) rows, n at least 1; `seed` is the CRC-32 of the network's name."""
    records: Records = np.empty(len(keys), record_type(rows.shape[1]))
    records["key"] = np.frombuffer(b"".join(keys), f"V{KEY_BYTES}")
    records["row"] = rows
    records["crc"] = checksums(records, seed)
    return records


def checksums(records: Records, seed: int) -> npt.NDArray[np.uint32]:
    """What the checksum of each of (n,) records must be."""
    raw, size = records.view(np.uint8).data, records.dtype.itemsize
    return np.fromiter(
        (
            crc32(raw[at + _ROW_AT : at + size], crc32(raw[at : at + KEY_BYTES], seed))
            for at in range(0, len(raw), size)
        ),
        np.uint32,
        len(records),
    )


def chosen(records: Records, numbers: Ints) -> Records:
    """`records[numbers]`, which numpy itself would copy field by field."""
    raw = records.view(np.uint8).reshape(len(records), records.dtype.itemsize)
    picked: Records = raw[numbers].view(records.dtype)[:, 0]
    return picked


def new_name(after: str = "") -> str:
    """A name for a file, which counts for more than the file `after` and whatever was written before."""
    known = _NAME.fullmatch(after)
    stamp = max(time.time_ns(), int(known[1]) + 1 if known else 0)
    return f"{stamp:020d}-{secrets.token_hex(4)}.npy"


def identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from another one of the same name."""
    return status.st_ino, status.st_size


def files(folder: Path, *, unfinished: bool = False) -> dict[str, os.stat_result]:
    """The files of the store in the folder of a network, by name; none if the folder is a link or cannot be read.

    Links and files of other names are left out. `unfinished`: those that a process is writing, or died over, instead.
    """
    pattern = _UNFINISHED if unfinished else _NAME
    found = {}
    try:
        if folder.is_symlink():
            return {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if pattern.fullmatch(entry.name):
                    status = os.lstat(entry.path)  # entry.stat() has no number of the file on Windows
                    if stat.S_ISREG(status.st_mode):
                        found[entry.name] = status
    except OSError:  # not there, not ours, or removed by another process while we looked
        pass
    return dict(sorted(found.items()))


def write(path: Path, blocks: Sequence[Records]) -> None:
    """Write blocks of records, all of one type, as one file: whole or not at all. An OSError names the file."""
    header = {"descr": np.lib.format.dtype_to_descr(blocks[0].dtype), "fortran_order": False}

    def fill(file: Any) -> None:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (sum(map(len, blocks)),)})
        for records in pieces(blocks):
            file.write(records.tobytes())

    write_atomically(path, fill)


def read(path: Path) -> Part:
    """Open a file; Damaged if it is none of ours, an OSError if it has gone or nothing can be said of it."""
    status = os.lstat(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # numpy raises what it likes for a file that is none
        raise Damaged(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if not isinstance(found, np.memmap):
        found.close()
        raise Damaged("it is an archive")
    dim = found.dtype["row"].shape[0] if found.dtype.names == ("key", "crc", "row") and found.dtype["row"].shape else 0
    if found.ndim != 1 or not found.size or not dim or found.dtype != record_type(dim):
        raise Damaged(f"it holds {found.dtype} in the shape {found.shape}")
    if status.st_size != found.offset + found.nbytes:
        raise Damaged(f"it has {status.st_size} bytes, not {found.offset + found.nbytes}")
    records: Records = np.asarray(found)
    raw = records["key"].tobytes()
    keys = [raw[at : at + KEY_BYTES] for at in range(0, len(raw), KEY_BYTES)]
    return Part(path, records, keys, identity(status))


def pieces(blocks: Sequence[Records], num_bytes: int = 1 << 23) -> Iterable[Records]:
    """The blocks in pieces that fit a processor's cache."""
    for records in blocks:
        step = max(num_bytes // records.dtype.itemsize, 1)
        for first in range(0, len(records), step):
            yield records[first : first + step]
