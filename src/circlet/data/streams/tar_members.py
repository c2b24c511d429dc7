"""The members of a tar, by position: where each begins and how long it is. No member is unpacked, none is read here.

Python's tarfile believes what an archive says: it takes as much memory as an extended header claims, fills sparse
members with zeros, and has gone back and forth in made-up ones for ever. Here every step goes forward, nothing is
longer than the file, and what training shards have no use for (links, devices, sparse and compressed archives) is a
`DataError`. Formats: POSIX ustar and pax, GNU long names, and what is older (IEEE Std 1003.1, pax; GNU tar manual,
"Basic Tar Format").
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from circlet.data.images import DataError
from circlet.data.notes import shown
from circlet.terminal import storable

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_LONGEST_NAME = 1 << 12
_LONGEST_HEADER = 1 << 16  # of a pax header: names, times, owners
_MOST_DIGITS = 8  # of the length of a record in it
_REGULAR, _FOLDER = (b"0", b"\0", b"7"), b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a named pipe",
          b"S": "a sparse file"}  # fmt: skip


class Member(NamedTuple):
    """A regular file in a tar: its name, which is never used as a path, its first byte and its length."""

    name: str
    offset: int
    size: int


def tar_members(path: Path, file: io.BufferedReader) -> Iterator[Member]:
    """The regular files of an open tar in order; folders are passed over.

    path: what errors call it. DataError, naming shard, member and byte, for a tar that is cut off or damaged, or holds
    anything else.
    """
    end, position = os.fstat(file.fileno()).st_size, 0
    long_name: str | None = None
    extended: dict[str, str] = {}
    while True:
        file.seek(position)
        block = file.read(_BLOCK)
        if block == _ZEROS:
            return
        if len(block) < _BLOCK:
            raise DataError(f"{path}: found the end of the file at byte {end}, expected another member, or the blocks "
                            "of zeros that end a tar: it is cut off")  # fmt: skip
        _check(path, position, block)
        kind, offset = block[156:157], position + _BLOCK
        size = int(extended["size"]) if "size" in extended else _number(path, position, block[124:136])
        name = extended.get("path") or long_name or _name(block)
        if offset + size > end:
            raise DataError(f"{path}, member {shown(name)}: found the end of the file after {end - offset} of its "
                            f"{size} bytes: it is cut off")  # fmt: skip
        if kind == _LONG_NAME:
            long_name = _text(_header(path, file, position, size, _LONGEST_NAME + 1).rstrip(b"\0"))
        elif kind == _PAX:
            extended = _pax(path, position, _header(path, file, position, size, _LONGEST_HEADER))
        elif kind not in (_LONG_LINK, _PAX_GLOBAL):
            if kind in _REGULAR:
                if len(name) > _LONGEST_NAME or "\0" in name:
                    raise _damaged(path, position, f"the name {shown(name)}", f"up to {_LONGEST_NAME:,} characters")
                yield Member(storable(name), offset, size)
            elif kind != _FOLDER:
                found = _KINDS.get(kind, f"a member of kind {kind!r}")
                raise DataError(f"{path}, member {shown(name)}: found {found}, expected files alone")
            long_name, extended = None, {}
        position = offset + -(-size // _BLOCK) * _BLOCK


def _check(path: Path, position: int, block: bytes) -> None:
    if position == 0 and block[:2] == b"\x1f\x8b":
        raise DataError(f"{path}: found a compressed tar, expected a plain one: images are compressed already, and are "
                        "read by their positions")  # fmt: skip
    digits = block[148:156].strip(b" \0")
    found = int(digits, 8) if _is_octal(digits) else -1
    if found != sum(block) - sum(block[148:156]) + 8 * 32:
        what = "no tar" if position == 0 else f"no header of a member at byte {position}"
        raise DataError(f"{path}: found {what} (its checksum does not fit), expected a tar that is whole")


def _number(path: Path, position: int, field: bytes) -> int:
    """Octal digits; or, where the first bit is set, a whole number of all other bits."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not _is_octal(digits):
        raise _damaged(path, position, f"the number {field!r}", "octal digits")
    return int(digits, 8)


def _is_octal(digits: bytes) -> bool:
    return bool(digits) and all(48 <= digit < 56 for digit in digits)


def _name(block: bytes) -> str:
    name = _text(block[:100].split(b"\0")[0])
    prefix = _text(block[345:500].split(b"\0")[0]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _header(path: Path, file: io.BufferedReader, position: int, size: int, longest: int) -> bytes:
    if size > longest:
        raise _damaged(path, position, f"an extended header of {size:,} bytes", f"up to {longest:,}")
    return file.read(size)


def _pax(path: Path, position: int, content: bytes) -> dict[str, str]:
    """The records "length key=value" of a pax header, of which path and size matter."""
    found: dict[str, str] = {}
    begin = 0
    while begin < len(content):
        blank = content.find(b" ", begin, begin + _MOST_DIGITS)
        digits = content[begin : max(blank, begin)]
        end = begin + int(digits) if digits.isdigit() else begin
        key, equals, value = content[blank + 1 : end - 1].partition(b"=")
        if not (blank < end <= len(content) and equals):
            raise _damaged(path, position, f"the pax record {shown(_text(content[begin : begin + 40]))}",
                           "a length, and so much of it")  # fmt: skip
        if key.startswith(b"GNU.sparse"):
            raise _damaged(path, position, "a sparse file", "files that are whole")
        if key == b"size" and not (value.isdigit() and len(value) < 20):
            raise _damaged(path, position, f"the size {shown(_text(value))}", "digits")
        found[_text(key)] = _text(value)
        begin = end
    return found


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _damaged(path: Path, position: int, found: str, expected: str) -> DataError:
    return DataError(f"{path}, byte {position}: found {found}, expected {expected}")
