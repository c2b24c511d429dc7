"""Columns of a Parquet file, within bounds: of few bytes, such a file may make as much memory as it likes.

A text that is stored once may be the cell of every row, and a number that is stored once the elements of a list in one
of them. So texts stay numbers of stored ones until it is known how much they would take, some rows at a time.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from circlet.data.images import DataError
from circlet.optional import need

_MOST_BYTES = 2**31
"""Of all cells together, as Python holds them: some millions of rows."""
_BYTES_OF_A_CELL = 64  # in Python, besides its characters
_ROWS_AT_ONCE = 2**14
_TEXTS = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")


def read_columns(path: Path, source: io.BufferedReader, columns: Sequence[str], longest: int) -> Any:
    """Those columns as a pyarrow.Table, in that order.

    path: what errors call the file. DataError for a cell of text of more than `longest` bytes, for lists and structs of
    texts, and for more than two gibibytes in all; what pyarrow raises for a file that is damaged.
    """
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet

    parts, size = [], 0
    for part, num_bytes in column_batches(path, source, columns, longest):
        size += num_bytes
        _require_few(path, columns, size)
        parts.append(part)
    if parts:
        return pa.concat_tables(parts)
    schema = pyarrow.parquet.read_schema(source)
    return pa.table({name: pa.array([], _plain(schema.field(name).type)) for name in columns})


def column_batches(
    path: Path, source: io.BufferedReader, columns: Sequence[str], longest: int, *, num_rows: int = _ROWS_AT_ONCE
) -> Iterator[tuple[Any, int]]:
    """Those columns some rows at a time: a pyarrow.Table, and the bytes that its cells take in Python.

    Arguments and errors as of `read_columns`; the two gibibytes are of each table alone.
    """
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(source) as file:
        texts = _checked(path, file, columns, longest)
    with pyarrow.parquet.ParquetFile(source, read_dictionary=texts) as file:
        for batch in file.iter_batches(num_rows, columns=list(columns)):
            size = sum(_size(path, name, batch[name], longest) for name in columns)
            _require_few(path, columns, size)
            yield pa.table({name: _decoded(batch[name]) for name in columns}), size


def _checked(path: Path, file: Any, columns: Sequence[str], longest: int) -> list[str]:
    """Those of the columns that are text; a DataError for what the file itself says is too much."""
    import pyarrow as pa

    texts = []
    for leaf in map(file.schema.column, range(len(file.schema))):
        name = leaf.path.split(".")[0]
        is_text = leaf.physical_type in _TEXTS and leaf.logical_type.type != "FLOAT16"
        if name in columns and is_text:
            found = file.schema_arrow.field(name).type
            if leaf.path != name and not pa.types.is_nested(found):
                continue  # a dot in the name of another column
            if leaf.path != name:
                raise DataError(f"{path}: found {found} in column {name!r}, expected text or numbers")
            if leaf.physical_type == "BYTE_ARRAY":
                texts.append(name)
            elif leaf.length > longest:
                raise DataError(
                    f"{path}: found {found} in column {name!r}, expected at most {longest:,} bytes in a cell"
                )
    # Not what each column claims to take: for damaged metadata pyarrow ends the process there.
    _require_few(path, columns, _BYTES_OF_A_CELL * file.metadata.num_rows * len(columns))
    return texts


def _size(path: Path, name: str, column: Any, longest: int) -> int:
    """What the cells take in Python; a DataError for a text that is too long."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = _BYTES_OF_A_CELL * len(column)
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return size + int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    most = pc.max(lengths).as_py() or 0
    if most > longest:
        raise DataError(f"{path}: found a text of {most:,} bytes in column {name!r}, expected at most {longest:,}")
    return size + int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _require_few(path: Path, columns: Sequence[str], size: int) -> None:
    if size > _MOST_BYTES:
        raise DataError(f"{path}: found {size:,} bytes in the columns {', '.join(columns)}, expected at most "
                        f"{_MOST_BYTES:,}")  # fmt: skip


def _decoded(column: Any) -> Any:
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    of = pa.types
    return any(is_kind(kind) for is_kind in (of.is_string, of.is_binary, of.is_large_string, of.is_large_binary))
