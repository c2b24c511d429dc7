"""Parquet shards with the bytes of images in them, as Hugging Face's data sets have them.

Column `image` is a struct of `bytes` and `path`, or the bytes themselves; another (`label`) has text or whole numbers.
Parquet has no place of a single image: what is read at once is a row group, of which the last few are held. So a
process that wants any image of a row group reads all of it, and each loader worker of each rank reads all row groups
once a pass; tars are better where many processes share a slow disk.
"""

import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from circlet.data.images import DataError
from circlet.data.notes import shown
from circlet.data.parquet_columns import column_batches
from circlet.data.regular import open_regular
from circlet.data.streams.labels import LONGEST, label_of
from circlet.data.streams.shard_index import ShardFile, ShardIndex
from circlet.optional import need

IMAGE = "image"
MOST_GROUP_BYTES = 1 << 30
"""Of the images of a row group."""
HELD_BYTES = 1 << 29
"""Of the row groups that a process holds, beside the last one."""


def index_parquet(path: Path, column: str) -> bytes:
    """The index of a shard: labels out of `column`; offsets are rows. DataError that names shard and row."""
    labels: list[str] = []
    try:
        with open_regular(path) as source:
            _image_leaf(path, _opened(source), column)
            for table, _ in column_batches(path, source, [column], 4 * LONGEST):
                for value in table[column].to_pylist():
                    labels.append(label_of(value, f"{path}, row {len(labels)} (column {column!r})"))
    except (DataError, ImportError):
        raise
    except Exception as error:  # pyarrow has many kinds, of OSError, ValueError and KeyError
        raise _unreadable(path, error) from error
    if not labels:
        raise DataError(f"{path}: found no row, expected images")
    number = len(labels)
    return ShardIndex.of(labels, range(number), [0] * number, [f"row {row}" for row in range(number)])


class RowGroups:
    """The encoded images of Parquet shards by row; holds the row groups that were read last, and no file."""

    def __init__(self, held_bytes: int = HELD_BYTES) -> None:
        self.held_bytes, self.size = held_bytes, 0
        self._ends: dict[str, npt.NDArray[np.int64]] = {}
        self._groups: OrderedDict[tuple[str, int], tuple[Any, int]] = OrderedDict()

    def image(self, shard: ShardFile, row: int, column: str) -> bytes:
        """The encoded image of a row; a DataError that names shard and row where there is none."""
        try:
            group, place = self._place(shard, row)
            found = self._group(shard, group, column)[place].as_py()
        except (DataError, ImportError):
            raise
        except Exception as error:
            raise _unreadable(Path(shard.path), error) from error
        if not isinstance(found, bytes) or not found:
            raise DataError(f"{shard.path}, row {row}: found no image in column {IMAGE!r}, expected its bytes")
        return found

    def _place(self, shard: ShardFile, row: int) -> tuple[int, int]:
        """The row group of a row, and the place in it."""
        if shard.path not in self._ends:
            with open_regular(shard.path) as source:
                found = _opened(source).metadata
            numbers = [found.row_group(group).num_rows for group in range(found.num_row_groups)]
            self._ends[shard.path] = np.cumsum(numbers)
        ends = self._ends[shard.path]
        group = int(np.searchsorted(ends, row, side="right"))
        return group, row - (int(ends[group - 1]) if group else 0)

    def _group(self, shard: ShardFile, group: int, column: str) -> Any:
        """The column of a row group: a dictionary array, so that what is stored once is in memory once."""
        key = (shard.path, group)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key][0]
        with open_regular(shard.path) as source:
            shard.require_same(os.fstat(source.fileno()))
            values = _images(Path(shard.path), source, group, column)
        size = int(values.nbytes)
        if size > MOST_GROUP_BYTES:
            raise DataError(f"{shard.path}: found a row group of {size / 2**20:,.0f} MiB, expected at most "
                            f"{MOST_GROUP_BYTES >> 20:,}: what is read at once (row_group_size)")  # fmt: skip
        self._groups[key] = values, size
        self.size += size
        while self.size - size > self.held_bytes:
            self.size -= self._groups.popitem(last=False)[1][1]
        return values


def _images(path: Path, source: io.BufferedReader, group: int, column: str) -> Any:
    import pyarrow.compute as pc

    leaf = _image_leaf(path, _opened(source), column)
    table = _opened(source, read_dictionary=[leaf]).read_row_group(group, columns=[leaf], use_threads=False)
    values = table.column(0).combine_chunks()
    return values if leaf == IMAGE else pc.struct_field(values, "bytes")


def _opened(source: Any, **options: Any) -> Any:
    need("pyarrow", "parquet")
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(source, pre_buffer=False, **options)


def _image_leaf(path: Path, file: Any, column: str) -> str:
    """The column of bytes, by its whole name; a DataError where a shard has not the columns that it needs."""
    import pyarrow as pa

    schema = file.schema_arrow
    for name in (IMAGE, column):
        if schema.names.count(name) != 1:
            found = shown(", ".join(schema.names))
            raise DataError(f"{path}: found the columns {found}, expected one {name!r}")
    kind, of = schema.field(IMAGE).type, pa.types
    leaf = IMAGE
    if of.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        leaf, kind = f"{IMAGE}.bytes", kind.field("bytes").type
    if not (of.is_binary(kind) or of.is_large_binary(kind)):
        raise DataError(f"{path}: found {cut_type(kind)} in column {IMAGE!r}, expected bytes, or a struct of bytes and "
                        "path")  # fmt: skip
    return leaf


def cut_type(kind: Any) -> str:
    """A type of Arrow as messages give it."""
    return shown(str(kind))[1:-1]


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return DataError(f"{path}: found no readable Parquet file ({shown(reason)[1:-1]}), expected one with the columns "
                     f"{IMAGE} and label")  # fmt: skip
