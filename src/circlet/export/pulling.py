"""`pull`: what `push` has uploaded, from the Hugging Face Hub into a folder; nothing but the files that it may have.

Each file is fetched beside its place, bounded by the size that the hub states, compared with its checksum there, and
then moved. An interrupted pull goes on where it was. What else a repository has is passed over; no code of it is run,
and none of its names becomes a path.
"""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, cast

from circlet.download import sha256_of
from circlet.export.fetching import Wanted, blob_of, fetch, remove_parts
from circlet.export.hub import checked_repository, hub_api, hub_errors
from circlet.export.record import CARD, INT8, ONNX, RECORD, SAFETENSORS
from circlet.files import read_json, write_json
from circlet.inference.safetensors_file import read_settings
from circlet.locks import locked

PULLED = "pulled.json"
MAX_BYTES = {SAFETENSORS: 1 << 34, ONNX: 1 << 31, INT8: 1 << 31, CARD: 1 << 20, RECORD: 1 << 20}
KEPT = "; what was fetched is kept, and the same command goes on from there"


class Pulled(NamedTuple):
    """What was pulled: into which folder, which files, of which commit; passed_over: how many others there were."""

    folder: Path
    files: tuple[str, ...]
    commit: str
    passed_over: int


class _Note(TypedDict):
    """pulled.json: where the files of the folder come from, by the checksum of each."""

    repository: str
    commit: str
    files: dict[str, str]


def pull(repository: str, *, revision: str | None = None, out: str | Path | None = None) -> Pulled:
    """Fetch a model that `circlet push` has uploaded; `circlet.load(folder / "model.safetensors")` opens it.

    repository: owner/name. revision: a branch, tag or commit; None: the latest. out: folder; None: `name`, here. Files
    of an earlier pull in it are brought up to date, any other file of the same name is an error.

    Raises ValueError for a name that cannot be and a repository without a model; OSError of one line for whatever the
    hub refuses, a connection that fails, and content that does not have its checksum; ImportError without the extra.
    """
    folder = Path(checked_repository(repository).partition("/")[2] if out is None else out)
    api = hub_api()
    with hub_errors(repository, api.endpoint, revision=revision):
        info = api.model_info(repository, revision=revision, files_metadata=True)
    wanted, passed_over = _wanted(repository, info.siblings or [])
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        note = _note(folder, repository)
        missing = [each for each in wanted if not each.is_at(folder / each.name)]
        for each in missing:
            _require_replaceable(folder, each.name, note)
        remove_parts(folder, wanted, tuple(MAX_BYTES))
        for each in wanted:
            if each in missing:
                with hub_errors(repository, api.endpoint, revision=revision, then=KEPT):
                    fetch(api, repository, str(info.sha), each, folder)
            note = {"repository": repository, "commit": str(info.sha), "files": {**note["files"], each.name: each.key}}
            write_json(folder / PULLED, dict(note))
    if (folder / SAFETENSORS).is_file():
        read_settings(folder / SAFETENSORS)
    return Pulled(folder, tuple(each.name for each in wanted), str(info.sha), passed_over)


def _wanted(repository: str, siblings: list[Any]) -> tuple[list[Wanted], int]:
    """The files that a repository of ours has, in the order of `MAX_BYTES`; and how many others there are."""
    found: dict[str, Wanted] = {}
    for each in siblings:
        if each.rfilename not in MAX_BYTES:
            continue
        lfs, name = each.lfs, each.rfilename
        sha256, size = (lfs.sha256, lfs.size) if lfs is not None else (None, each.size)
        known = re.fullmatch("[0-9a-f]{64}", sha256) if sha256 else re.fullmatch("[0-9a-f]{40}", each.blob_id or "")
        if not known or not isinstance(size, int):
            raise OSError(f"{repository}: the hub states no size or checksum of {name}, expected both")
        if not 0 <= size <= MAX_BYTES[name]:
            raise OSError(f"{repository}: found {name} of {size:,} bytes, expected at most {MAX_BYTES[name]:,}")
        found[name] = Wanted(name, size, sha256, None if sha256 else each.blob_id)
    if not found.keys() & {SAFETENSORS, ONNX, INT8}:
        raise ValueError(f"{repository}: found none of {SAFETENSORS}, {ONNX}, {INT8} in it, expected a model of "
                         "circlet push")  # fmt: skip
    return [found[name] for name in MAX_BYTES if name in found], len(siblings) - len(found)


def _note(folder: Path, repository: str) -> _Note:
    path = folder / PULLED
    if not path.exists():
        return _Note(repository=repository, commit="", files={})
    return cast(_Note, read_json(path, _Note))


def _require_replaceable(folder: Path, name: str, note: _Note) -> None:
    """An error where somebody else's file, or one that was edited, would be written over."""
    path = folder / name
    if not os.path.lexists(path):
        return
    before = note["files"].get(name, "")
    if path.is_symlink() or not path.is_file() or not before or not _has_key(path, before):
        raise FileExistsError(f"{path}: found another file than an earlier pull has left there, expected none: move it "
                              "away, or pull into another folder (--out)")  # fmt: skip


def _has_key(path: Path, key: str) -> bool:
    return sha256_of(path).startswith(key) or blob_of(path).startswith(key)
