"""WebDataset shards: a tar in which the members of a sample stand together, `KEY.jpg` and `KEY.cls` or `KEY.json`.

The key of a member is its name up to the first dot after the last slash, as in the webdataset library
(github.com/webdataset/webdataset, "The WebDataset Format"), and what follows says what it is. That library hands over
samples, not where they are, so that nothing but a pass over all before could go on in the middle of an epoch; hence the
index here is made by reading the headers and the labels alone. The tests hold it against the library.
"""

import io
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from circlet.data.images import DataError
from circlet.data.notes import shown
from circlet.data.regular import open_regular
from circlet.data.signatures import SUFFIXES
from circlet.data.streams.labels import label_of
from circlet.data.streams.shard_index import ShardIndex
from circlet.data.streams.tar_members import Member, tar_members

MOST_BYTES = 1 << 30
"""Of an encoded image."""
_LABELS = {"cls": 1 << 12, "json": 1 << 20}  # and the most bytes of each


def index_tar(path: Path, column: str) -> bytes:
    """The index of a shard; column: the key of `KEY.json` that holds the label.

    DataError, naming shard and member, for a sample without an image or without a label, with two of them, or with a
    label that is none, and for a key that stands twice.
    """
    labels: list[str] = []
    places: list[Member] = []
    seen: set[str] = set()
    with open_regular(path) as file:
        for key, members in groupby(_of_samples(path, file), key=lambda member: _split(member.name)[0]):
            by_kind: dict[str, Member] = {}
            for member in members:
                kind = _split(member.name)[1]
                if kind in by_kind:
                    raise DataError(f"{path}, member {shown(member.name)}: found it twice, expected it once")
                by_kind[kind] = member
            if key in seen:
                raise DataError(f"{path}, member {shown(next(iter(by_kind.values())).name)}: found members of its "
                                "sample before, apart from it, expected those of a sample together")  # fmt: skip
            seen.add(key)
            places.append(_image(path, by_kind))
            labels.append(_label(path, file, by_kind, column))
    if not labels:
        raise DataError(f"{path}: found no image, expected members such as 000000.jpg and 000000.cls")
    columns = zip(*((member.offset, member.size, member.name) for member in places), strict=True)
    offsets, sizes, names = map(list, columns)
    return ShardIndex.of(labels, offsets, sizes, names)


def _of_samples(path: Path, file: io.BufferedReader) -> Iterator[Member]:
    """Members that are part of a sample: those called __so__, which the library keeps for itself, are none."""
    for member in tar_members(path, file):
        base = member.name.rpartition("/")[2]
        if base.startswith("__") and base.endswith("__"):
            continue
        if not all(_split(member.name)):
            raise DataError(f"{path}, member {shown(member.name)}: found a name without a dot within, expected one "
                            "such as 000000.jpg")  # fmt: skip
        yield member


def _split(name: str) -> tuple[str, str]:
    """The key of a sample, and the kind of the member in small letters."""
    folder, slash, base = name.rpartition("/")
    key, _, kind = base.partition(".")
    return (folder + slash + key if key else ""), kind.lower()


def _image(path: Path, by_kind: dict[str, Member]) -> Member:
    found = [member for kind, member in by_kind.items() if f".{kind}" in SUFFIXES]
    if len(found) != 1:
        first = next(iter(by_kind.values())).name
        several = " and ".join(shown(member.name) for member in found[:2])
        raise DataError(f"{path}, member {shown(first)}: found {several or 'no image'} in its sample, expected one "
                        "image")  # fmt: skip
    if not 0 < found[0].size <= MOST_BYTES:
        raise DataError(f"{path}, member {shown(found[0].name)}: found {found[0].size:,} bytes, expected an image of "
                        "at most 1 GiB")  # fmt: skip
    return found[0]


def _label(path: Path, file: io.BufferedReader, by_kind: dict[str, Member], column: str) -> str:
    kind = next((kind for kind in _LABELS if kind in by_kind), None)
    if kind is None:
        first = next(iter(by_kind.values())).name
        raise DataError(f"{path}, member {shown(first)}: found no label in its sample, expected a member .cls, or "
                        f".json with the key {column!r}")  # fmt: skip
    member = by_kind[kind]
    where = f"{path}, member {shown(member.name)}"
    if member.size > _LABELS[kind]:
        raise DataError(f"{where}: found {member.size:,} bytes, expected a label of at most {_LABELS[kind]:,}")
    file.seek(member.offset)
    raw = file.read(member.size)
    try:
        value: Any = raw.decode().strip() if kind == "cls" else json.loads(raw)
    except (ValueError, RecursionError) as error:  # of UTF-8, too
        what = "text in UTF-8" if kind == "cls" else "JSON in UTF-8"
        raise DataError(f"{where}: found no {what} ({type(error).__name__}), expected a label") from error
    if kind == "json":
        if not isinstance(value, dict) or column not in value:
            raise DataError(f"{where}: found no key {column!r}, expected an object that has the label under it")
        value = value[column]
    return label_of(value, where)
