"""Tables of images: the columns of a CSV or Parquet file as text, and where each row stands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circlet.data.images import DataError


def read_table(path: Path, columns: Sequence[str], required: Sequence[str], expected: str) -> dict[str, Any]:
    """Read those of `columns` that a CSV or Parquet file has, by name; CSV as text.

    A missing or unreadable file, one without a `required` column, and a repeated column are a DataError; `expected`
    says there what the columns should be.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if not path.is_file():
        raise DataError(f"{path}: found {'a folder' if path.is_dir() else 'nothing'}, expected a CSV or Parquet file")
    try:
        if path.suffix.lower() == ".csv":
            as_text = dict.fromkeys(columns, pa.string())
            table = pyarrow.csv.read_csv(
                path,
                parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
                convert_options=pyarrow.csv.ConvertOptions(column_types=as_text),
            )
            names = table.column_names
        elif path.suffix.lower() in (".parquet", ".pq"):
            names = pyarrow.parquet.read_schema(path).names
            # A table of circlet embed has all embeddings in another column.
            table = pyarrow.parquet.read_table(path, columns=[name for name in columns if name in names])
        else:
            raise DataError(f"{path}: found the suffix {path.suffix!r}, expected .csv, .parquet or .pq")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: found no readable table ({error}), expected {expected}") from error
    for name in required:
        if name not in names:
            raise DataError(f"{path}: found the columns {', '.join(names)}, without {name!r}; expected {expected}")
    for name in columns:
        if names.count(name) > 1:
            raise DataError(f"{path}: found {names.count(name)} columns {name!r}, expected one")
    found = dict(zip(table.column_names, table.columns, strict=True))
    return {name: found[name] for name in columns if name in found}


def text_cells(path: Path, name: str, column: Any) -> list[str | None]:
    """The cells of a column as text; None for an empty one."""
    import pyarrow as pa

    try:
        cells: list[str | None] = column.cast(pa.string()).to_pylist()
    except (pa.ArrowException, NotImplementedError) as error:
        raise DataError(f"{path}: found {column.type} in column {name!r}, expected text or numbers") from error
    return [None if not cell or cell.isspace() else cell for cell in cells]


def full_cells(path: Path, name: str, column: Any, expected: str) -> list[str]:
    """The cells of a column as text, none of which may be empty."""
    cells = text_cells(path, name, column)
    texts = [cell for cell in cells if cell is not None]
    if len(texts) < len(cells):
        row = cells.index(None)
        raise DataError(f"{row_of(path, row)}: found an empty cell in column {name!r}, expected {expected}")
    return texts


def row_of(path: Path, row: int) -> str:
    """Say where a row is: the line of a CSV (the header is line 1), the row of a Parquet file (the first is 0)."""
    return f"{path}, line {row + 2}" if path.suffix.lower() == ".csv" else f"{path}, row {row}"
