"""The folder of an export: which files it may have, and export.json, which says of each what is known of it.

model.safetensors   the model for circlet
model.onnx          for anything that runs ONNX
model-int8.onnx     the same in eight bits
export.json         of each file: digest of the model, SHA-256, how far it is from the model, what eight bits cost
README.md           the model card; once edited by somebody, it stays as it is
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import circlet
from circlet.download import sha256_of
from circlet.export.card import MARK
from circlet.files import read_json, write_json, write_text
from circlet.inference import Model

RECORD, CARD = "export.json", "README.md"
SAFETENSORS, ONNX, INT8 = "model.safetensors", "model.onnx", "model-int8.onnx"
FILES = (SAFETENSORS, ONNX, INT8)


class Entry(TypedDict):
    """What export.json says of a file. difference: the largest of any number of its unit vectors from the model's.

    way, cosine, whole, eight: of int8 (`circlet.export.int8.Quantised`).
    """

    digest: str
    sha256: str
    bytes: int
    difference: NotRequired[float | None]
    compared_on: NotRequired[str]
    way: NotRequired[str]
    cosine: NotRequired[float | None]
    whole: NotRequired[dict[str, float | None]]
    eight: NotRequired[dict[str, float | None]]


class Record(TypedDict):
    """export.json. card: SHA-256 of README.md as it was written. licence: of the model, as its maker has said."""

    circlet: str
    files: dict[str, Entry]
    card: NotRequired[str]
    licence: NotRequired[str]


def default_folder(model: Model) -> Path:
    """Where an export goes unless told: `export` in the run folder, else NAME-export here."""
    if model.source is not None and model.source.is_dir():
        return model.source / "export"
    name = model.source.stem if model.source is not None else model.name
    return Path(re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".") + "-export")


def read_record(folder: Path) -> Record:
    """export.json of a folder; without any file where there is none. ValueError for one that is not ours."""
    path = folder / RECORD
    if not path.exists():
        return Record(circlet=circlet.__version__, files={})
    try:
        return cast(Record, read_json(path, Record))
    except ValueError as error:
        raise ValueError(f"{error}; expected none, or one of circlet export (--out in another folder)") from error


def entry_of(model: Model, path: Path, **more: Any) -> Entry:
    """What is known of a file that was just written."""
    known = {"digest": model.digest, "sha256": sha256_of(path), "bytes": path.stat().st_size}
    return cast(Entry, {**known, **more})


def write_record(folder: Path, record: Record, name: str, entry: Entry) -> Record:
    """The record with that file in it, written; files that are not there any more are dropped from it."""
    kept = {each: known for each, known in record["files"].items() if each != name and (folder / each).is_file()}
    changed: Record = {**record, "circlet": circlet.__version__, "files": {**kept, name: entry}}
    write_json(folder / RECORD, dict(changed))
    return changed


def of_model(folder: Path, record: Record, model: Model) -> tuple[str, ...]:
    """Files of the folder that were made of this model and are as they were written, by the names of `FILES`."""
    return tuple(
        name for name in FILES
        if (known := record["files"].get(name)) is not None and known["digest"] == model.digest
        and (folder / name).is_file() and sha256_of(folder / name) == known["sha256"]
    )  # fmt: skip


def write_card(folder: Path, record: Record, text: str) -> bool:
    """Write README.md unless it is somebody else's, or was edited; whether it was written."""
    path = folder / CARD
    if path.exists():
        raw = path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else b""
        if MARK.encode() not in raw or hashlib.sha256(raw).hexdigest() != record.get("card"):
            return False
    write_text(path, text)
    write_json(folder / RECORD, {**record, "card": sha256_of(path)})
    return True
