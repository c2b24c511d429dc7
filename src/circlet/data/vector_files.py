"""Vectors out of a file: a Parquet table with a column of them, or a .npy array with a table beside it.

Such a file may be anybody's: what it claims is checked against what it has, within bounds. What becomes of the rows is
settled in `vector_sets`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from circlet.data.images import DataError
from circlet.data.notes import shown
from circlet.data.parquet_columns import column_batches
from circlet.data.regular import NotAFileError, open_regular
from circlet.data.table import Table, read_table
from circlet.data.vector_reader import Rows, checked
from circlet.optional import need

FILES = frozenset({".parquet", ".pq", ".npy"})
NAMES, LABELS, VECTORS = ("path", "id", "name"), ("label", "class"), ("embedding", "vector")
_TEXTS = (*NAMES, *LABELS, "split", "group")
_TABLE = "columns label (or class), and perhaps path (or id, or name), split and group"
EXPECTED = f"a column embedding (or vector) with a list of numbers in each row, and {_TABLE}"
_BATCH_BYTES = 1 << 25
_ROWS_AT_ONCE = 1 << 12
_MOST_BYTES, _BYTES_OF_ONE = 1 << 31, 16  # a Parquet file of few bytes may make as many numbers as it likes


class VectorTable(NamedTuple):
    """What a file has. rows: (n, dim). labels, splits: (n,) texts; None where there is no such column.

    groups: (n,), None for a row without one. table: where each row stands, for messages.
    """

    rows: Rows
    names: tuple[str, ...]
    labels: list[str] | None
    splits: list[str] | None
    groups: list[str | None] | None
    table: Table


def read_vectors(path: str | Path) -> VectorTable:
    """Read a file of vectors, .parquet or .npy; a DataError names the file and the row, of which the first is 0.

    Parquet: the column `embedding` (or `vector`) has lists of as many numbers in each row. The others are text or
    numbers, and none of them has to be there: `path` (or `id`, or `name`), distinct; `label` (or `class`; where both
    name the same classes, as in files of `circlet embed`, the names are those of class); `split`, `group`.

    .npy: numbers (n, dim), and these columns in a .csv or .parquet file of the same name beside it, row by row.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FILES:
        raise DataError(f"{path}: found the suffix {path.suffix!r}, expected .parquet, or .npy with a .csv beside it")
    if suffix == ".npy":
        rows = _of_array(path)
        beside = next((found for end in (".csv", ".parquet") if (found := path.with_suffix(end)).exists()), None)
        table = Table(path, {}, range(len(rows)), "row") if beside is None else _table(beside)
        if beside is not None and (num_rows := _num_rows(table)) not in (None, len(rows)):
            raise DataError(f"{beside}: found {num_rows} rows, expected {len(rows)}, as many as {path.name} has")
    else:
        rows, table = _of_parquet(path), _table(path)
    if not len(rows):
        raise DataError(f"{path}: found no row, expected at least one vector")
    return VectorTable(
        rows,
        _names(table, len(rows)),
        _labels(table),
        table.full("split", _TABLE) if "split" in table else None,
        table.texts("group", _TABLE) if "group" in table else None,
        table,
    )


def vector_dim(path: str | Path) -> int:
    """How many numbers the vectors of a file have: those of the first row; errors as of `read_vectors`."""
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return int(_mapped(path).shape[1])
    for rows in _parts(path, num_rows=1):  # of the others none is looked at
        return int(rows.shape[1])
    raise DataError(f"{path}: found no row, expected at least one vector")


def has_vectors(path: Path) -> bool:
    """Whether a file can be read as one of vectors; as much of it as `vector_dim` reads."""
    try:
        return vector_dim(path) > 0
    except DataError:
        return False


def _table(path: Path) -> Table:
    return read_table(path, _TEXTS, (), EXPECTED)


def _num_rows(table: Table) -> int | None:
    """None where the table has none of the columns."""
    return next((len(column) for column in table.columns.values()), None)


def _names(table: Table, count: int) -> tuple[str, ...]:
    column = next((name for name in NAMES if name in table), None)
    if column is None:
        return tuple(f"row {row}" for row in range(count))
    names = table.full(column, _TABLE)
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if (earlier := first.setdefault(name, row)) != row:
            raise DataError(f"{table.where(earlier)} and {table.line(row)}: found the {column} {shown(name)} twice, "
                            "expected one row for each")  # fmt: skip
    return tuple(names)


def _labels(table: Table) -> list[str] | None:
    found = [table.full(name, _TABLE) for name in LABELS if name in table]
    if len(found) == 2:  # circlet embed writes the number of a class, and its name
        pairs = len(set(zip(*found, strict=True)))
        return found[1] if pairs == len(set(found[0])) == len(set(found[1])) else found[0]
    return found[0] if found else None


def _mapped(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """The array of a file, which stays on the disk; its length is checked against that of the file."""
    try:
        with open_regular(path):
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except NotAFileError as error:
        raise DataError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: found nothing, expected an array of vectors (.npy)") from error
    except (ValueError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: found no array that can be read ({reason}), expected numbers (n, dim)") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind not in "fiu":
        found = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else "an archive"
        raise DataError(f"{path}: found {found}, expected numbers (n, dim)")
    return rows


def _of_array(path: Path) -> Rows:
    rows = _mapped(path)
    step = max(1, _BATCH_BYTES // max(4 * rows.shape[1], 1))
    where = f"{path}, row {{}}"
    parts = [checked(np.asarray(rows[at : at + step]), where, at) for at in range(0, len(rows), step)]
    return np.concatenate(parts) if parts else np.zeros((0, rows.shape[1]), np.float32)


def _of_parquet(path: Path) -> Rows:
    parts: list[Rows] = []
    count, size = 0, 0
    for rows in _parts(path):
        if parts and rows.shape[1] != parts[0].shape[1]:
            raise _ragged(path, count, rows.shape[1], parts[0].shape[1])
        parts.append(checked(rows, f"{path}, row {{}}", count))
        count, size = count + len(rows), size + parts[-1].nbytes
        if size > max(_MOST_BYTES, _BYTES_OF_ONE * path.stat().st_size):
            raise DataError(f"{path}: found more than {size / 2**30:.1f} GiB of numbers in a file of "
                            f"{path.stat().st_size:,} bytes, expected fewer, or .npy")  # fmt: skip
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _parts(path: Path, num_rows: int = _ROWS_AT_ONCE) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
    """The vectors some rows at a time, (m, dim) in the precision that they have."""
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with open_regular(path) as source:
            names = pyarrow.parquet.read_schema(source).names
            found = [name for name in names if name in VECTORS]
            if len(found) != 1:
                raise DataError(f"{path}: found the columns {shown(', '.join(names))[1:-1]}, {len(found)} of them of "
                                f"vectors, expected {EXPECTED}")  # fmt: skip
            count = 0
            for table, _ in column_batches(path, source, found, 0, num_rows=num_rows):
                yield _matrix(path, table[found[0]], found[0], count)
                count += len(table)
    except NotAFileError as error:
        raise DataError(f"{path}: {error} (Parquet)") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: found nothing, expected a Parquet file with {EXPECTED}") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: found no Parquet file that can be read ({reason}), expected {EXPECTED}") from error


def _matrix(path: Path, column: Any, name: str, first: int) -> np.ndarray[Any, np.dtype[Any]]:
    """A column of lists as (m, dim); first: the number of its first row in the file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, of = column.type, pa.types
    is_list = of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind)
    if not is_list or not (of.is_floating(kind.value_type) or of.is_integer(kind.value_type)):
        raise DataError(f"{path}: found {kind} in column {name!r}, expected lists of numbers")
    if column.null_count:
        row = first + column.is_null().to_pylist().index(True)
        raise DataError(f"{path}, row {row}: found an empty cell in column {name!r}, expected a list of numbers")
    lengths = pc.list_value_length(column).to_numpy()
    other = np.flatnonzero(lengths != lengths[0])
    if other.size:
        raise _ragged(path, first + int(other[0]), int(lengths[other[0]]), int(lengths[0]))
    parts = [part.flatten() for part in column.chunks]
    if any(part.null_count for part in parts):
        place = next(i for i, value in enumerate(pa.chunked_array(parts).is_null().to_pylist()) if value)
        raise DataError(f"{path}, row {first + place // int(lengths[0])}: found an empty number in a list of column "
                        f"{name!r}, expected finite numbers")  # fmt: skip
    numbers = np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])
    return numbers.reshape(len(column), int(lengths[0]))


def _ragged(path: Path, row: int, found: int, expected: int) -> DataError:
    return DataError(f"{path}, row {row}: found a vector of {found:,} numbers, expected {expected:,}, as the first row "
                     "has")  # fmt: skip
