"""Tables of images: the columns of a CSV or Parquet file as text, and where each row stands.

CSV is read strictly: a quote that is not closed would swallow the rows after it without a word. What is wrong is a
`DataError` that names the file, the line (the row of a Parquet file, of which the first is 0) and the column. Columns
that nobody asked for may hold anything.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from circlet.data.images import DataError, Ints
from circlet.data.notes import shown
from circlet.data.parquet_columns import read_columns
from circlet.data.regular import NotAFileError, open_regular
from circlet.optional import need

TABLES = frozenset({".csv", ".parquet", ".pq"})
LONGEST_CELL = 2**12  # characters
_LONGEST_LINE = 2**20


class Table:
    """The columns of a table that were asked for, by name; `numbers` (N,) say where its rows stand, in `word`s."""

    def __init__(
        self, path: Path, columns: dict[str, Any], numbers: Sequence[int], word: Literal["line", "row"]
    ) -> None:
        self.path, self.columns, self._numbers, self._word = path, columns, numbers, word

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def where(self, row: int) -> str:
        """The file and the line, as error messages begin."""
        return f"{self.path}, {self.line(row)}"

    def line(self, row: int) -> str:
        """Such as "line 2", the header being line 1; or "row 0" of a Parquet file."""
        return f"{self._word} {self._numbers[row]}"

    def at(self, rows: Ints) -> "Table":
        """Some rows (M,), without their cells: they stand where they stood."""
        return Table(self.path, {}, [self._numbers[row] for row in rows.tolist()], self._word)

    def cells(self, name: str) -> list[Any]:
        """The cells of a column as they are; those of CSV are text."""
        column = self.columns[name]
        if isinstance(column, list):
            return column
        import pyarrow as pa

        try:
            found: list[Any] = column.to_pylist()
        except (ValueError, OverflowError, pa.ArrowException) as error:
            row = _first_unreadable(column)
            where = str(self.path) if row is None else self.where(row)
            raise DataError(f"{where}: found what cannot be read in column {name!r} ({error})") from error
        return found

    def texts(self, name: str, expected: str) -> list[str | None]:
        """The cells of a column as text; None for an empty one, nan among numbers too.

        Line breaks, zero bytes and bytes that are no UTF-8 within a cell, which are a sign of other damage, and cells
        of more than 4,096 characters are a DataError; `expected` says there what the columns should be.
        """
        column = self.columns[name]
        texts: list[str | None] = column if isinstance(column, list) else self._as_text(name, expected)
        for row, cell in enumerate(texts):
            if cell is not None and (fault := _fault(cell)):
                raise DataError(f"{self.where(row)}: found {fault} in column {name!r} ({shown(cell)}), expected "
                                f"{expected}")  # fmt: skip
        return [None if not cell or cell.isspace() else cell for cell in texts]

    def full(self, name: str, expected: str) -> list[str]:
        """The cells of a column as text, none of which may be empty."""
        cells = self.texts(name, expected)
        texts = [cell for cell in cells if cell is not None]
        if len(texts) < len(cells):
            row = cells.index(None)
            raise DataError(f"{self.where(row)}: found an empty cell in column {name!r}, expected {expected}")
        return texts

    def _as_text(self, name: str, expected: str) -> list[str | None]:
        import pyarrow as pa

        column = self.columns[name]
        try:
            texts: list[str | None] = column.cast(pa.string()).to_pylist()
        except UnicodeDecodeError as error:
            row = _first_unreadable(column)
            where = str(self.path) if row is None else self.where(row)
            raise DataError(f"{where}: found bytes that are no UTF-8 in column {name!r} ({error.object!r:.80}), "
                            f"expected {expected}") from error  # fmt: skip
        except (pa.ArrowException, NotImplementedError) as error:
            raise DataError(f"{self.path}: found {column.type} in column {name!r}, expected text or numbers") from error
        if pa.types.is_floating(column.type):
            texts = [None if cell is None or math.isnan(float(cell)) else cell for cell in texts]
        return texts


def read_table(path: Path, columns: Sequence[str], required: Sequence[str], expected: str) -> Table:
    """Read those of `columns` that a CSV or Parquet file has; CSV as text.

    A missing or unreadable file, one without a `required` column, and a repeated column are a DataError; `expected`
    says there what the columns should be.
    """
    try:
        with open_regular(path) as file:
            suffix = path.suffix.lower()
            if suffix not in TABLES:
                raise DataError(f"{path}: found the suffix {path.suffix!r}, expected .csv, .parquet or .pq")
            read = _read_csv if suffix == ".csv" else _read_parquet
            return read(path, file, columns, required, expected)
    except NotAFileError as error:
        raise DataError(f"{path}: {error} (CSV or Parquet)") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: found nothing, expected a CSV or Parquet file") from error
    except OSError as error:
        raise DataError(f"{path}: found no readable table ({error}), expected {expected}") from error


def _check_names(
    path: Path, names: Sequence[str], columns: Sequence[str], required: Sequence[str], expected: str
) -> None:
    for name in required:
        if name not in names:
            found = shown(", ".join(names))[1:-1]  # escaped
            text = "" if _is_text("".join(names)) and "\0" not in "".join(names) else " (in UTF-8)"
            raise DataError(f"{path}: found the columns {found}, without {name!r}; expected {expected}{text}")
    for name in columns:
        if names.count(name) > 1:
            raise DataError(f"{path}: found {names.count(name)} columns {name!r}, expected one")


def _read_csv(
    path: Path, file: io.BufferedReader, columns: Sequence[str], required: Sequence[str], expected: str
) -> Table:
    """Empty lines are passed over: programs of Windows write one after each row."""
    reader = csv.reader(_lines_of(path, file), strict=True)
    lines: list[int] = []
    places: list[int] = []
    names: list[str] = []
    wanted: list[list[str]] = []
    num_columns, begins = 0, 1
    try:
        for row in reader:
            if row and not num_columns:
                num_columns = len(row)
                _check_names(path, row, columns, required, expected)
                places = [row.index(name) for name in columns if name in row]
                wanted = [[] for _ in places]
                names = [row[place] for place in places]
            elif row:
                if len(row) != num_columns:
                    raise DataError(f"{path}, line {begins}: found {len(row)} cells, expected {num_columns}, as many "
                                    "as the header has")  # fmt: skip
                lines.append(begins)
                for cells, place in zip(wanted, places, strict=True):
                    cells.append(row[place])
            begins = reader.line_num + 1
    except csv.Error as error:
        if "field larger" in str(error):
            most = f"{csv.field_size_limit():,} characters"
            raise DataError(f"{path}, line {begins}: found a cell of more than {most}, expected shorter ones, in "
                            "columns that are not read too (or a quote is missing)") from error  # fmt: skip
        reason = "a quote that is not closed" if "end of data" in str(error) else str(error)
        raise DataError(f"{path}, line {begins}: found no readable row ({reason}), expected comma-separated cells, "
                        'with a quote within a quoted cell written twice ("")') from error  # fmt: skip
    if not num_columns:
        raise DataError(f"{path}: found no readable table (it is empty), expected {expected}")
    return Table(path, dict(zip(names, wanted, strict=True)), lines, "line")


def _lines_of(path: Path, file: io.BufferedReader) -> Iterator[str]:
    """The lines of a text in UTF-8; bytes that are none become lone surrogates."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        number = 1
        while line := text.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE:
                raise DataError(f"{path}, line {number}: found more than {_LONGEST_LINE:,} characters, expected a row "
                                "of cells")  # fmt: skip
            yield line
            number += 1


def _read_parquet(
    path: Path, source: io.BufferedReader, columns: Sequence[str], required: Sequence[str], expected: str
) -> Table:
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(source) as file:
            names = file.schema_arrow.names
        _check_names(path, names, columns, required, expected)
        # A table of circlet embed has all embeddings in another column.
        table = read_columns(path, source, [name for name in columns if name in names], 4 * LONGEST_CELL)
        return Table(path, {name: table[name] for name in table.column_names}, range(table.num_rows), "row")
    except DataError:
        raise
    except (pa.ArrowException, ValueError, OverflowError, KeyError) as error:
        raise DataError(f"{path}: found no readable table ({error}), expected {expected}") from error


def _first_unreadable(column: Any) -> int | None:
    """The first row of a Parquet column that Python cannot have."""
    for row in range(len(column)):
        try:
            column[row].as_py()
        except (ValueError, OverflowError):
            return row
    return None


def _fault(cell: str) -> str:
    """What is wrong with a cell, in words; empty if nothing is."""
    if len(cell) > LONGEST_CELL:
        return f"{len(cell):,} characters"
    if "\0" in cell:
        return "a zero byte"
    if "\n" in cell or "\r" in cell:
        return "a line break (a quote may be missing)"
    return "" if cell.isascii() or _is_text(cell) else "bytes that are no UTF-8"


def _is_text(cell: str) -> bool:
    """Whether UTF-8 can hold it: it has no lone surrogates."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True
