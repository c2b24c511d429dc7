"""The one small file that says what a store consists of: replaced at once, so that every change is whole or absent.

It holds the settings that the store is given (`meta`), the files of this state of the store, and a checksum over both.
Files that it does not name are leftovers of a writer that was killed.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict
from zlib import crc32

from circlet.files import read_json, write_json
from circlet.typed import typed
from circlet.vectors.checks import MAX_DIM, packed_meta
from circlet.vectors.opening import sync_folder

NAME = "circlet-vectors.json"
FORMAT, VERSION = "circlet vectors", 1
MAX_META_BYTES = 1 << 26
OURS = re.compile(r"(segment|journal|approximate)-(\d{6,12})\.(vectors|records|codes)")
_FILES = {"segment": "vectors", "journal": "records", "approximate": "codes"}


@dataclass(frozen=True)
class SegmentEntry:
    """A segment, and the checksum of its header."""

    number: int
    crc: int


@dataclass(frozen=True)
class Manifest:
    """A state of the store.

    next: a number that no file has yet. approximate: number of the index of `covers`, which is a segment, or None.
    """

    dim: int
    next: int
    journal: int
    segments: tuple[SegmentEntry, ...] = ()
    approximate: int | None = None
    covers: int | None = None


class _Written(TypedDict):
    format: str
    version: int
    crc32: int
    state: dict[str, Any]
    meta: dict[str, Any]


def file_of(folder: Path, kind: str, number: int) -> Path:
    """The file of a number; kind: segment, journal or approximate."""
    return folder / f"{kind}-{number:06d}.{_FILES[kind]}"


def files_of(folder: Path, manifest: Manifest) -> set[str]:
    """Names of all files of a state, but for the manifest itself."""
    found = {file_of(folder, "segment", entry.number) for entry in manifest.segments}
    found.add(file_of(folder, "journal", manifest.journal))
    if manifest.approximate is not None:
        found.add(file_of(folder, "approximate", manifest.approximate))
    return {path.name for path in found}


def write_manifest(folder: Path, manifest: Manifest, meta: dict[str, Any]) -> None:
    """Make this the state of the store: on the disk, with all names in the folder, when it returns."""
    sync_folder(folder)  # the files that it names first
    state = asdict(manifest)
    content = {"format": FORMAT, "version": VERSION, "crc32": _checksum(state, meta), "state": state, "meta": meta}
    write_json(folder / NAME, content)
    sync_folder(folder)


def read_manifest(folder: Path) -> tuple[Manifest, dict[str, Any]]:
    """The state of the store, and its settings.

    Raises FileNotFoundError where there is no store, ValueError for one that is damaged or of another version.
    """
    path = folder / NAME
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder, expected an index")
    if not folder.is_dir():
        raise ValueError(f"{folder}: found a file, expected the folder of an index")
    if not path.exists():
        raise FileNotFoundError(f"{folder}: found no {NAME}, expected the folder of an index")
    found = read_json(path)
    if found.get("format") != FORMAT:
        raise ValueError(f"{path}: found another kind of file, expected an index of vectors")
    if found.get("version") != VERSION:
        raise ValueError(f"{path}: found version {str(found.get('version'))[:20]}, expected {VERSION}: made by another "
                         "version of circlet")  # fmt: skip
    try:
        written: _Written = typed(_Written, found, "")
        if _checksum(written["state"], written["meta"]) != written["crc32"]:
            raise ValueError("found another checksum, expected the content as it was written")
        manifest: Manifest = typed(Manifest, {**written["state"]}, "state")
        _check(manifest)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return manifest, written["meta"]


def plain_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back, null for a number that is not finite; a ValueError for anything else."""
    text = packed_meta(meta)
    if len(text) > MAX_META_BYTES:
        raise ValueError(f"meta: found {len(text)} characters, expected at most {MAX_META_BYTES}")
    plain: dict[str, Any] = json.loads(text)
    try:
        json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("meta: found text that UTF-8 cannot hold, expected such as it can") from None
    return plain


def _checksum(state: dict[str, Any], meta: dict[str, Any]) -> int:
    return crc32(json.dumps([state, meta], sort_keys=True).encode())


def _check(manifest: Manifest) -> None:
    numbers = [entry.number for entry in manifest.segments] + [manifest.journal]
    if manifest.approximate is not None:
        numbers.append(manifest.approximate)
    if not 1 <= manifest.dim <= MAX_DIM or min(numbers) < 0 or max(numbers) >= manifest.next or manifest.next > 10**12:
        raise ValueError("state: found numbers out of range, expected those of an index")
    if len(set(numbers[: len(manifest.segments)])) != len(manifest.segments):
        raise ValueError("state.segments: found one twice, expected each once")
