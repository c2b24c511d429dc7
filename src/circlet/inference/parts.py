"""Embeddings of a large collection as a folder of Parquet files, each of which is whole or not there: goes on later.

    _embeddings.json      of which model and images they are, and how many are in a part
    part-00000.parquet    a table as `circlet embed` writes it, of the first images; those that cannot be read are named
                          in its metadata

pandas, pyarrow, DuckDB and others read such a folder as one table; names that begin with _ they pass over. Where ranks
help (`circlet.distributed.led`) each writes parts of its own, into a folder that all must see.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from circlet.data import ImageSet
from circlet.data.embedding_table import write_table
from circlet.data.regular import NotAFileError, open_regular
from circlet.distributed import own_device, rows_of_ranks
from circlet.files import read_json, write_atomically, write_json
from circlet.inference.loading import load_model
from circlet.inference.model import Model, OnError
from circlet.locks import locked
from circlet.optional import need
from circlet.progress import progress, silenced
from circlet.terminal import say

PLAN, PART_IMAGES, FORMAT = "_embeddings.json", 4096, 1
_NOTE = "circlet"


class InParts(NamedTuple):
    """What is in the folder: `rows` of all its parts, `made` of them now, and (name, reason) of the images left out."""

    rows: int
    made: int
    dim: int
    parts: int
    broken: list[tuple[str, str]]


class _Task(NamedTuple):
    """A part to make: its number, its images, and their labels among all."""

    number: int
    images: ImageSet
    labels: np.ndarray[Any, np.dtype[np.int64]]


def embed_in_parts(
    source: str | Path,
    images: ImageSet,
    folder: Path,
    *,
    part_images: int | None = None,
    on_error: OnError = "raise",
    trust: Collection[str] = (),
    device: torch.device | str = "cpu",
) -> InParts:
    """Write the parts that are missing in `folder`, which is made where there is none.

    source, trust, device: as of `circlet.inference.load_model`. part_images: how many images are in a part; None: as
    many as in those that are there, or 4096. on_error: "skip" leaves out an image that cannot be read, and its part
    names it.

    ValueError for a folder of another model, of other images or parts, or of something else; DataError for an image
    that cannot be read; an OSError, such as of a full disk, names the part that is not there.
    """
    if part_images is not None and part_images < 1:
        raise ValueError(f"part_images: found {part_images}, expected at least 1")
    need("pyarrow", "parquet")
    _loaded.cache_clear()  # the run may have been trained since
    model = _loaded(str(source), tuple(trust), str(device))
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        size = _settled(folder, _about(model, images), part_images)
        tasks = [(first // size, range(first, min(first + size, len(images)))) for first in range(0, len(images), size)]
        there = {
            number: len(rows) for number, rows in tasks if _is_whole(_path(folder, number), len(rows), model.digest)
        }
        missing = [task for task in tasks if task[0] not in there]

        def part(chosen: slice) -> list[_Task]:
            return [
                _Task(number, images.subset(rows), images.labels[rows.start : rows.stop])
                for number, rows in missing[chosen]
            ]

        common = str(source), tuple(trust), str(device), model.digest, str(folder), on_error
        counts = rows_of_ranks(_made, common, part, len(missing), 1)
        made = 0
        with progress("embed", len(images), done=sum(there.values()), unit="image") as shown, closing(counts):
            for _, table in counts:
                made += int(table[:, 0].sum())
                shown.advance(int(table.sum()))
        found = [_read(_path(folder, number)) for number, _ in tasks]
    broken = [(name, reason) for _, note in found for name, reason in note["broken"]]
    return InParts(sum(rows for rows, _ in found), made, model.dim, len(tasks), broken)


@lru_cache(maxsize=1)
def _loaded(source: str, trust: tuple[str, ...], device: str) -> Model:
    return load_model(source, trust=trust, device=own_device(device))


def _made(
    source: str, trust: tuple[str, ...], device: str, digest: str, folder: str, on_error: OnError, tasks: list[_Task]
) -> Iterator[Tensor]:
    """Make some parts, on any rank; for each the number of its rows, and of the images left out."""
    if not tasks:
        return
    model = _loaded(source, trust, device)
    if model.digest != digest:
        _loaded.cache_clear()
        model = _loaded(source, trust, device)
    if model.digest != digest:
        raise ValueError(f"{source}: found other weights here than on rank 0, expected all ranks to see one folder")
    for task in tasks:
        rows, indices, broken = _embedded(model, task.images, on_error)
        note = {"model": digest, "broken": [(task.images.names[index], reason) for index, reason in broken]}
        images, labels = task.images.subset(indices), task.labels[indices]
        _write(_path(Path(folder), task.number), images, rows, labels, note)
        yield torch.tensor([[len(rows), len(broken)]])


def _embedded(model: Model, images: ImageSet, on_error: OnError) -> tuple[Tensor, list[int], list[tuple[int, str]]]:
    with silenced():
        if on_error == "raise":
            return model.embed_images(images)[1], list(range(len(images))), []
        found = model.embed_readable(images, "skipped")
    return found.rows, found.indices, found.broken


def _write(path: Path, images: ImageSet, rows: Tensor, labels: Any, note: dict[str, Any]) -> None:
    text = json.dumps(note)
    write_atomically(path, lambda file: write_table(file, images, rows.numpy(), labels=labels, notes={_NOTE: text}))


def _path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def _about(model: Model, images: ImageSet) -> dict[str, Any]:
    """What the folder is of."""
    found = hashlib.blake2b(digest_size=16)
    for text in ("\0".join(images.names), "\0".join(images.class_names)):
        found.update(text.encode("utf-8", "surrogatepass"))
        found.update(b"\0\0")
    for numbers in (images.labels, images.cameras):
        found.update(b"" if numbers is None else numbers.astype("<i8").tobytes())
    return {"format": FORMAT, "model": model.digest, "dim": model.dim, "images": len(images), "list": found.hexdigest()}


def _settled(folder: Path, about: dict[str, Any], part_images: int | None) -> int:
    """How many images are in a part; what the folder is of, written down where nobody has."""
    path = folder / PLAN
    if not path.exists():
        others = [each.name for each in folder.iterdir() if not each.name.startswith(".")]
        if others:
            raise ValueError(f"{folder}: found {others[0]} in it and no {PLAN}, expected an empty folder or none")
        write_json(path, {**about, "part_images": part_images or PART_IMAGES})
    there = read_json(path)
    if there.get("model") != about["model"]:
        raise ValueError(f"{folder}: found embeddings of another model in it ({str(there.get('model'))[:8]}, and not "
                         f"{about['model'][:8]}), expected a folder of this one: another --out, or none")  # fmt: skip
    if any(there.get(name) != about[name] for name in about):
        raise ValueError(f"{folder}: found embeddings of other images in it ({there.get('images')} in another list, "
                         f"and not these {about['images']}), expected the same: another --out, or none")  # fmt: skip
    size = there.get("part_images")
    if type(size) is not int or size < 1 or part_images not in (None, size):
        raise ValueError(f"{folder}: found parts of {size} images in it, expected {part_images or 'some number'}")
    return size


def _is_whole(path: Path, number: int, digest: str) -> bool:
    """Whether the part is there and is what it should be; one that is not is made again."""
    if not path.exists():
        return False
    try:
        rows, note = _read(path)
        if note["model"] == digest and rows + len(note["broken"]) == number:
            return True
        reason = f"it has {rows} rows of {number} images"
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
    say(f"{path} is damaged ({reason}): it is made again")
    return False


def _read(path: Path) -> tuple[int, dict[str, Any]]:
    """How many rows a part has, and what is noted of it."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with open_regular(path) as file:
            found = pyarrow.parquet.read_metadata(file)
        note: dict[str, Any] = json.loads((found.metadata or {})[_NOTE.encode()])
    except (pa.ArrowException, NotAFileError, KeyError) as error:
        raise ValueError(f"found no part of embeddings ({error}), expected one") from error
    return found.num_rows, note
