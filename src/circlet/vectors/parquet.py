"""A store as a Parquet file, and back: for every tool that this package does not know.

Columns: name, label, content (text) and embedding (a list of `dim` float32 numbers). Read are such files, and those of
`circlet embed`, whose columns are path, class and embedding. Vectors pass some thousands at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from circlet.files import write_atomically
from circlet.optional import need
from circlet.vectors.checks import MAX_TEXT_BYTES
from circlet.vectors.protocol import Floats, Item, Store

_BATCH_BYTES = 1 << 25
_SOURCES = {"name": ("name", "path"), "label": ("label", "class"), "content": ("content",)}


def write_parquet(store: Store, path: Path) -> Path:
    """Write all items of a store with their vectors, atomically, in order of addition; the file."""
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet

    items = store.items()
    schema = pa.schema(
        [(name, pa.string()) for name in Item._fields] + [("embedding", pa.list_(pa.float32(), store.dim))]
    )
    step = max(1, _BATCH_BYTES // (4 * store.dim))

    def fill(file: BinaryIO) -> None:
        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            for first in range(0, len(items), step):
                part = items[first : first + step]
                rows = store.vectors([item.name for item in part])
                columns = [pa.array(list(texts), pa.string()) for texts in zip(*part, strict=True)]
                columns.append(pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), store.dim))
                writer.write_table(pa.table(columns, schema=schema))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, fill)
    return path


def put_parquet(store: Store, path: Path) -> int:
    """Put the items of a Parquet file into a store, those of the same name in place of its own; how many.

    Can be repeated where it was interrupted. A ValueError names the file, and the row where there is one, for a file
    that is damaged or not Parquet, has other columns, or rows that are no unit vectors of the store's length.
    """
    count = 0
    for items, rows in _batches(path, store.dim):
        try:
            store.put(items, rows)
        except ValueError as error:
            raise ValueError(f"{path}, rows {count} to {count + len(items) - 1}: {error}") from error
        count += len(items)
    return count


def _batches(path: Path, dim: int) -> Iterator[tuple[list[Item], Floats]]:
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet

    from circlet.data.parquet_columns import column_batches
    from circlet.data.regular import NotAFileError, open_regular

    try:
        with open_regular(path) as source:
            there = pyarrow.parquet.read_schema(source).names
            columns = _columns(path, there)
            step = max(1, _BATCH_BYTES // (4 * dim))
            wanted = list(dict.fromkeys([*columns.values(), "embedding"]))
            for table, _ in column_batches(path, source, wanted, MAX_TEXT_BYTES, num_rows=step):
                texts = {name: _texts(path, table, column) for name, column in columns.items()}
                empty = [""] * len(table)
                items = [Item(*each) for each in zip(*(texts.get(name, empty) for name in Item._fields), strict=True)]
                yield items, _vectors(path, table["embedding"], dim)
    except NotAFileError as error:
        raise ValueError(f"{path}: {error}") from error
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:  # of the disk; pyarrow has another one for damaged pages
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: found no Parquet file that can be read ({reason}), expected one") from error


def _columns(path: Path, there: list[str]) -> dict[str, str]:
    """The column of each field of an item."""
    found = {}
    embedded = "name" not in there and "path" in there  # its label is a number, and its class the name of that
    for field, names in _SOURCES.items():
        for name in reversed(names) if embedded else names:
            if name in there:
                found[field] = name
                break
    if "name" not in found or "embedding" not in there:
        shown = ", ".join(each[:40] for each in there[:20])
        raise ValueError(f"{path}: found the columns {shown}, expected name (or path), label (or class) and embedding")
    return found


def _texts(path: Path, table: Any, column: str) -> list[str]:
    try:
        return ["" if cell is None else str(cell) for cell in table[column].to_pylist()]
    except ValueError as error:  # bytes that are no UTF-8
        raise ValueError(f"{path}: found what cannot be read in column {column!r} ({error}), expected text") from error


def _vectors(path: Path, column: Any, dim: int) -> Floats:
    import pyarrow as pa

    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise ValueError(f"{path}: found {kind} in column 'embedding', expected a list of {dim} numbers")
    if column.null_count or _ragged(column, dim):
        raise ValueError(f"{path}: found other lengths in column 'embedding', expected lists of {dim} numbers")
    parts = [part.flatten().to_numpy(zero_copy_only=False) for part in column.chunks]
    numbers = np.concatenate([np.empty(0, np.float32), *parts]).astype(np.float32)
    return numbers.reshape(len(column), dim)


def _ragged(column: Any, dim: int) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_fixed_size_list(column.type):
        return bool(column.type.list_size != dim)
    return bool(len(column)) and not pc.all(pc.equal(pc.list_value_length(column), dim)).as_py()
