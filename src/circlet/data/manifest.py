"""Manifests: a CSV or Parquet table with one image a row.

Only the table is read: whether the files exist and hold images shows when they are decoded.
"""

import os
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from circlet.data.data_set import DataSet
from circlet.data.images import DataError, FileReader, ImageSet, SeenClassError, Splits
from circlet.data.listing import split_by_classes

_ROLES = ("train", "query", "gallery", "test")
_COLUMNS = ("path", "label", "split", "camera")
_EXPECTED = "columns path and label, optionally split (train, query, gallery or test) and camera"


def manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    held_out: float = 0.5,
    seed: int = 0,
    closed_set: bool = False,
) -> Splits:
    """Read a manifest (.csv, comma-separated UTF-8 with a header; or .parquet).

    Columns: `path`, below `root` (the manifest's folder where None) and relative to it or absolute; `label`, any text;
    optionally `split`: train with query (and gallery), or train with test, whose every image searches all the others;
    optionally `camera`, any text, numbered in sorted order over the whole table. Other columns are passed over. Without
    `split`, the classes are split (`split_classes` with `held_out` and `seed`). Rows keep their order. `closed_set`
    allows test classes that are trained on. An empty cell, a missing or repeated column, an unknown split and a path
    that leaves `root` are a DataError naming file and line: a table from others must not put pictures of your own into
    a report. Where images lie elsewhere, name a `root` above them.
    """
    path = Path(path)
    images, splits = read_manifest(path, root)
    if splits is None:
        return split_by_classes(path, images, held_out, seed)

    roles = np.array(splits)
    unknown = np.flatnonzero(~np.isin(roles, _ROLES))
    if unknown.size:
        raise DataError(f"{_where(path, unknown[0])}: found split {splits[unknown[0]]!r}, expected {', '.join(_ROLES)}")
    found = sorted(set(splits))
    if found not in (["query", "train"], ["gallery", "query", "train"], ["test", "train"]):
        raise DataError(
            f"{path}: found the splits {', '.join(found)}, expected train and query (and gallery), or train and test"
        )
    parts = {role: images.subset(np.flatnonzero(roles == role)) for role in found}
    query = parts["test" if "test" in parts else "query"]
    try:
        return Splits(parts["train"], query, parts.get("gallery"), closed_set)
    except SeenClassError as error:
        row = next(i for i, role in enumerate(splits) if role != "train" and images.names[i] == error.image)
        raise DataError(f"{_where(path, row)}: {error}") from error


def read_manifest(path: Path, root: str | Path | None = None) -> tuple[ImageSet, list[str] | None]:
    """All images of a manifest as one set, and the cells of its column `split` if it has one."""
    table = _read_table(path)
    columns = {name: _column(path, table, name) for name in _COLUMNS if name in table}
    if not columns["path"]:
        raise DataError(f"{path}: found no row, expected at least one image")
    names = tuple(columns["path"])
    below = path.parent if root is None else Path(root)
    for row, name in enumerate(names):
        if not _is_below(name, below):
            where = f"paths below {below}, or the folder above all images (--images)"
            raise DataError(f"{_where(path, row)}: found the image {name!r}, expected {where}")
    reader = FileReader(str(below), names)
    cameras = np.unique(columns["camera"], return_inverse=True)[1] if "camera" in columns else None
    return ImageSet.from_classes(columns["label"], names, reader, cameras), columns.get("split")


def _read_table(path: Path) -> dict[str, Any]:
    """Read the columns of a CSV or Parquet file, as text, by name."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if not path.is_file():
        raise DataError(f"{path}: found {'a folder' if path.is_dir() else 'nothing'}, expected a CSV or Parquet file")
    try:
        if path.suffix.lower() == ".csv":
            as_text = dict.fromkeys(_COLUMNS, pa.string())
            table = pyarrow.csv.read_csv(
                path,
                parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
                convert_options=pyarrow.csv.ConvertOptions(column_types=as_text),
            )
            names = table.column_names
        elif path.suffix.lower() in (".parquet", ".pq"):
            names = pyarrow.parquet.read_schema(path).names
            # A table of circlet embed has all embeddings in another column.
            table = pyarrow.parquet.read_table(path, columns=[name for name in _COLUMNS if name in names])
        else:
            raise DataError(f"{path}: found the suffix {path.suffix!r}, expected .csv, .parquet or .pq")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: found no readable table ({error}), expected {_EXPECTED}") from error
    for name in ("path", "label"):
        if name not in names:
            raise DataError(f"{path}: found the columns {', '.join(names)}, without {name!r}; expected {_EXPECTED}")
    for name in _COLUMNS:
        if names.count(name) > 1:
            raise DataError(f"{path}: found {names.count(name)} columns {name!r}, expected one")
    return dict(zip(table.column_names, table.columns, strict=True))


def _column(path: Path, table: dict[str, Any], name: str) -> list[str]:
    """Return a column as text without an empty cell."""
    import pyarrow as pa

    try:
        cells: list[str | None] = table[name].cast(pa.string()).to_pylist()
    except (pa.ArrowException, NotImplementedError) as error:
        raise DataError(f"{path}: found {table[name].type} in column {name!r}, expected text or numbers") from error
    texts = [cell for cell in cells if cell and not cell.isspace()]
    if len(texts) < len(cells):
        row = next(row for row, cell in enumerate(cells) if not cell or cell.isspace())
        raise DataError(f"{_where(path, row)}: found an empty cell in column {name!r}, expected {_EXPECTED}")
    return texts


def _is_below(name: str, root: Path) -> bool:
    """Whether a path leads nowhere but below `root`, as far as its text says."""
    if os.pardir in name and os.pardir in PurePath(name).parts:
        return False
    return not os.path.isabs(name) or PurePath(name).is_relative_to(os.path.abspath(root))


def _where(path: Path, row: int) -> str:
    """Say where a row is: the line of a CSV (the header is line 1), the row of a Parquet file (the first is 0)."""
    return f"{path}, line {row + 2}" if path.suffix.lower() == ".csv" else f"{path}, row {row}"


MANIFEST = DataSet("manifest", manifest, title="your own images, listed in a table", layout=_EXPECTED)
