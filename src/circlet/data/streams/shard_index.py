"""What is known of a shard without its pixels: the class, the place and the name of each of its images, in order.

It is found in one pass over the shard (`tar_shard`, `parquet_shard`) and kept in a file of its own in the cache,
$CIRCLET_CACHE/shards, by path, size and time of change of the shard: some 20 bytes an image and its name. So the pass
is made once, goes on where it was interrupted, and a new shard costs its own pass alone.

    magic (8), lengths (5 x 8: images, bytes of classes, of names, version, 0), classes of the images (n x 4),
    offsets (n x 8), sizes (n x 8), class names, image names (each joined by zero bytes), BLAKE2b of it all (16)
"""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from circlet.data.images import DataError, Ints
from circlet.data.regular import NotAFileError, open_regular
from circlet.download import cache_dir
from circlet.files import write_atomically

_MAGIC, _VERSION, _DIGEST = b"CIRCSHRD", 1, 16
_LENGTHS = struct.Struct("<5Q")


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The images of a shard: `classes` (n,) int32 numbers into `class_names`, `offsets` and `sizes` (n,) int64.

    Of a tar, offset and size in bytes; of Parquet, the row, and 0. `names` (n,), within the shard. digest: of all this
    as 32 hexadecimal digits.
    """

    classes: npt.NDArray[np.int32]
    offsets: Ints
    sizes: Ints
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, labels: Sequence[str], offsets: Sequence[int], sizes: Sequence[int], names: Sequence[str]) -> bytes:
        """The content of the file for images in order: label, place and name of each."""
        class_names = sorted(set(labels))
        code_of = {name: code for code, name in enumerate(class_names)}
        codes = np.array([code_of[label] for label in labels], dtype="<i4")
        told = "\0".join(class_names).encode(), "\0".join(names).encode()
        parts = [_MAGIC, _LENGTHS.pack(len(labels), *map(len, told), _VERSION, 0), codes.tobytes()]
        parts += [np.array(column, dtype="<i8").tobytes() for column in (offsets, sizes)]
        content = b"".join([*parts, *told])
        return content + hashlib.blake2b(content, digest_size=_DIGEST).digest()

    @classmethod
    def read(cls, content: bytes) -> "ShardIndex | None":
        """What the content of a file says; None where it is damaged, or of another version."""
        start = len(_MAGIC) + _LENGTHS.size
        if len(content) < start + _DIGEST or not content.startswith(_MAGIC):
            return None
        number, of_classes, of_names, version, _ = _LENGTHS.unpack_from(content, len(_MAGIC))
        lengths = (4 * number, 8 * number, 8 * number, of_classes, of_names, _DIGEST)
        digest = hashlib.blake2b(memoryview(content)[:-_DIGEST], digest_size=_DIGEST)
        if version != _VERSION or len(content) != start + sum(lengths) or content[-_DIGEST:] != digest.digest():
            return None
        ends = np.cumsum([start, *lengths]).tolist()
        codes, offsets, sizes, classes, names = (content[a:b] for a, b in pairwise(ends[:6]))
        return cls(
            np.frombuffer(codes, dtype="<i4"),
            np.frombuffer(offsets, dtype="<i8"),
            np.frombuffer(sizes, dtype="<i8"),
            tuple(classes.decode().split("\0")),
            tuple(names.decode().split("\0")),
            digest.hexdigest(),
        )


@dataclass(frozen=True)
class ShardFile:
    """A shard as it was found: its path, and what tells whether it is still the same."""

    path: str
    size: int
    changed_ns: int

    @classmethod
    def find(cls, path: Path) -> "ShardFile":
        """DataError where there is no such file, or nothing that can be read."""
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
        except NotAFileError as error:
            raise DataError(f"{path}: {error} (a shard)") from error
        except FileNotFoundError as error:
            raise DataError(f"{path}: found nothing, expected a shard") from error
        except OSError as error:
            raise DataError(f"{path}: found no readable shard ({error.strerror})") from error
        return cls(os.path.abspath(path), status.st_size, status.st_mtime_ns)

    def require_same(self, status: os.stat_result) -> None:
        """DataError where the file has changed since."""
        if (status.st_size, status.st_mtime_ns) != (self.size, self.changed_ns):
            raise DataError(f"{self.path}: found another file than when it was indexed, expected one that stays as it "
                            "is while it is used; start again, and it is indexed anew")  # fmt: skip


def index_of(shard: ShardFile, key: str, make: Callable[[Path], bytes]) -> ShardIndex:
    """The index of a shard, from the cache, or made and kept there.

    key: what else decides what `make` finds. OSError where the cache cannot be written.
    """
    told = "\0".join([shard.path, str(shard.size), str(shard.changed_ns), key, str(_VERSION)])
    digest = hashlib.blake2b(told.encode(errors="surrogateescape"), digest_size=_DIGEST).hexdigest()
    path = cache_dir() / "shards" / f"{digest}.index"
    if path.is_file():
        with open_regular(path) as file:
            found = ShardIndex.read(file.read())
        if found is not None:
            return found
    content = make(Path(shard.path))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(content))
    made = ShardIndex.read(content)
    assert made is not None
    return made
