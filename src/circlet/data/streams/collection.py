"""All images of a list of shards: their classes, and where each of them lies, without a list of them in memory.

An image is known by its position: those of the first shard come first, each shard's in its own order. Memory is taken
for the shards and the classes, and for the indices of the shards in use (`shard_index`), which are read again when they
are needed.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from circlet.data.images import DataError, Ints
from circlet.data.open_image import open_image
from circlet.data.regular import open_regular
from circlet.data.streams.names import short_names
from circlet.data.streams.parquet_shard import RowGroups, index_parquet
from circlet.data.streams.shard_index import ShardFile, ShardIndex, index_of
from circlet.data.streams.tar_shard import index_tar
from circlet.progress import progress

if TYPE_CHECKING:
    from PIL.Image import Image

_HELD = 128  # indices, and open files


class Collection:
    """The images of `shards`; column: where the label is, a column of Parquet or a key of JSON.

    class_names: (C,) of all, sorted. class_sizes: (C,) images of each. sizes: (S,) images of each shard. shard_names:
    what messages call the shards. digests: (S,) of their indices.

    To make one indexes the shards that are not in the cache yet, with progress. DataError for what `tar_shard` and
    `parquet_shard` refuse, and where two shards are copies of each other.
    """

    def __init__(self, shards: Sequence[ShardFile], column: str = "label") -> None:
        self.shards, self.column = tuple(shards), column
        self.shard_names = tuple(short_names(shards))
        classes: dict[str, int] = {}
        codes: list[npt.NDArray[np.int64]] = []
        counts: list[npt.NDArray[np.int64]] = []
        digests: list[str] = []
        with progress("shards indexed", len(shards), unit="shard") as shown:
            for number in range(len(shards)):
                index = self._index(number)
                codes.append(np.array([classes.setdefault(name, len(classes)) for name in index.class_names]))
                counts.append(np.bincount(index.classes, minlength=len(index.class_names)))
                digests.append(index.digest)
                shown.advance()
        self.class_names = tuple(sorted(classes))
        number_of = {name: number for number, name in enumerate(self.class_names)}
        final = np.array([number_of[name] for name in classes], dtype=np.int32)
        self._codes = [final[own] for own in codes]
        self.class_sizes = np.zeros(len(classes), dtype=np.int64)
        for own, count in zip(self._codes, counts, strict=True):
            self.class_sizes[own] += count
        self.sizes: Ints = np.array([count.sum() for count in counts], dtype=np.int64)
        self.starts: Ints = np.concatenate([[0], np.cumsum(self.sizes)])
        self.digests = tuple(digests)
        self._forget()
        self._require_no_copies()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        left = {"_indices": None, "_files": None, "_groups": None, "_process": None}
        return {**self.__dict__, **left}

    def find(self, position: int) -> tuple[int, int]:
        """The shard of a position, and the number of the image in it."""
        shard = int(np.searchsorted(self.starts, position, side="right")) - 1
        return shard, position - int(self.starts[shard])

    def labels(self, shard: int) -> npt.NDArray[np.int32]:
        """Class numbers (n,) of the images of a shard, in order."""
        found: npt.NDArray[np.int32] = self._codes[shard][self._index(shard).classes]
        return found

    def names(self, shard: int) -> list[str]:
        """What the images of a shard are called: shard and member."""
        return [f"{self.shard_names[shard]}/{name}" for name in self._index(shard).names]

    def place(self, position: int) -> str:
        """What messages call an image: the path of its shard, and the member in it."""
        shard, row = self.find(position)
        name, path = self._index(shard).names[row], self.shards[shard].path
        return f"{path}, member {name}" if _is_tar(path) else f"{path}, {name}"

    def content(self, position: int) -> bytes:
        """The encoded image at a position; DataError where the shard is another than it was."""
        shard, row = self.find(position)
        file, index = self.shards[shard], self._index(shard)
        if not _is_tar(file.path):
            return self._row_groups().image(file, int(index.offsets[row]), self.column)
        offset, size = int(index.offsets[row]), int(index.sizes[row])
        if offset + size > file.size:
            raise DataError(f"{self.place(position)}: found it beyond the end of the shard, expected it within")
        found = os.pread(self._descriptor(file), size, offset)
        if len(found) < size:
            raise DataError(f"{self.place(position)}: found {len(found)} of its {size} bytes: the shard is cut off")
        return found

    def open(self, position: int) -> "Image":
        """The image at a position, not decoded yet."""
        return open_image(self.content(position))

    def digest(self) -> str:
        """Of all shards, whatever folder they are in: 32 hexadecimal digits."""
        told = [f"{name} {digest}" for name, digest in zip(self.shard_names, self.digests, strict=True)]
        return hashlib.blake2b("\n".join(told).encode(), digest_size=16).hexdigest()

    def _index(self, number: int) -> ShardIndex:
        held = self._own()
        if number not in held:
            shard = self.shards[number]
            make = index_tar if _is_tar(shard.path) else index_parquet
            held[number] = index_of(shard, self.column, lambda path: make(path, self.column))
            if len(held) > _HELD:
                held.popitem(last=False)
        held.move_to_end(number)
        return held[number]

    def _own(self) -> "OrderedDict[int, ShardIndex]":
        """What this process holds: a forked one must not share the place in a file of its parent's."""
        if self.__dict__.get("_process") != os.getpid():
            self._forget()
        return self._indices

    def _forget(self) -> None:
        self._process = os.getpid()
        self._indices: OrderedDict[int, ShardIndex] = OrderedDict()
        self._files: OrderedDict[str, _Descriptor] = OrderedDict()
        self._groups = RowGroups()

    def _row_groups(self) -> RowGroups:
        self._own()
        return self._groups

    def _descriptor(self, shard: ShardFile) -> int:
        self._own()
        if shard.path not in self._files:
            self._files[shard.path] = _Descriptor(shard)
            if len(self._files) > _HELD:
                self._files.popitem(last=False)
        return self._files[shard.path].number

    def _require_no_copies(self) -> None:
        """Shards of equal indices are compared byte for byte: numbered members of one size may be others."""
        first: dict[str, int] = {}
        for number, digest in enumerate(self.digests):
            earlier = first.setdefault(digest, number)
            one, other = self.shards[earlier], self.shards[number]
            if earlier != number and one.size == other.size and _sha(one.path) == _sha(other.path):
                raise DataError(f"{other.path}: found a copy of {one.path}, expected each shard once")


class _Descriptor:
    """A shard that stays open as long as somebody holds this."""

    number = -1

    def __init__(self, shard: ShardFile) -> None:
        try:
            with open_regular(shard.path) as file:
                shard.require_same(os.fstat(file.fileno()))
                self.number = os.dup(file.fileno())
        except OSError as error:
            raise DataError(f"{shard.path}: found no readable shard any more ({error})") from error

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def _is_tar(path: str) -> bool:
    return path.lower().endswith(".tar")


def _sha(path: str) -> bytes:
    with open_regular(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").digest()
