"""The folder of the embedded store: what is read when it is opened, and what in it nobody needs any more."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from circlet.leftovers import remove_leftovers
from circlet.locks import LOCK_FILES
from circlet.vectors import manifest as manifests
from circlet.vectors.checks import MAX_DIM
from circlet.vectors.journal import create_journal, read_journal
from circlet.vectors.manifest import Manifest, SegmentEntry, file_of
from circlet.vectors.segment import Segment
from circlet.vectors.state import State

_LOOKS = 20


def opened(folder: Path) -> tuple[Manifest, dict[str, Any], State, int]:
    """The manifest, the settings, the state, and where the journal ends; looks again where a writer was quicker."""
    before = None
    for _ in range(_LOOKS):
        manifest, meta = manifests.read_manifest(folder)
        try:
            segments = [_segment(folder, entry, manifest.dim) for entry in manifest.segments]
            contents = read_journal(file_of(folder, "journal", manifest.journal), manifest.dim)
        except FileNotFoundError as error:
            if manifest == before:
                raise ValueError(f"{error.filename}: found no such file, expected the part of {folder}") from None
            before = manifest
            continue
        state = State(manifest.dim, segments)
        for record in contents.records:
            state.apply(record)
        return manifest, meta, state, contents.end
    raise OSError(f"{folder}: found another process writing faster than it can be read, expected it to end")


def _segment(folder: Path, entry: SegmentEntry, dim: int) -> Segment:
    segment = Segment(file_of(folder, "segment", entry.number))
    if segment.crc != entry.crc or segment.vectors.shape[1] != dim:
        raise ValueError(f"{segment.path}: found a segment of another index, expected that of {folder}")
    return segment


def require_room(folder: Path, dim: int) -> None:
    """A folder to make a store in: none yet, or one with nothing but what an earlier try has left."""
    if dim > MAX_DIM:
        raise ValueError(f"dim: found {dim}, expected at most {MAX_DIM}")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder}: found a file, expected a folder, or none yet")
    for path in folder.iterdir():
        if path.name not in LOCK_FILES and not manifests.OURS.fullmatch(path.name) and not path.name.endswith(".part"):
            raise ValueError(f"{folder}: found a folder with other files ({path.name[:80]!r}), expected an index, an "
                             "empty folder, or none yet")  # fmt: skip


def begin(folder: Path, dim: int) -> None:
    """Make a folder, which is locked, an empty store."""
    require_room(folder, dim)
    create_journal(file_of(folder, "journal", 0), dim)
    manifests.write_manifest(folder, Manifest(dim=dim, next=1, journal=0), {})


def remove_unused(folder: Path, manifest: Manifest) -> None:
    """Remove what no state names any more; what cannot be removed (Windows keeps what is mapped) goes another time."""
    named = manifests.files_of(folder, manifest)
    remove_leftovers(folder)
    for path in folder.iterdir():
        if manifests.OURS.fullmatch(path.name) and path.name not in named:
            with suppress(OSError):
                path.unlink()
