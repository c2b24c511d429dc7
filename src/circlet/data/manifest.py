"""Manifests: a CSV or Parquet table with one image a row.

Only the table is read: whether the files exist, hold images and hold the boxes shows when they are decoded.
"""

import os
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from circlet.data.boxes import BoxReader, box_text, parse_box
from circlet.data.data_set import DataSet
from circlet.data.images import (
    DataError,
    FileReader,
    Floats,
    ImageSet,
    Ints,
    JoinedClassesError,
    SeenClassError,
    Splits,
    split_classes,
)
from circlet.data.readers import Reader
from circlet.data.table import full_cells, read_table, row_of, text_cells
from circlet.data.time_split import split_by_time
from circlet.data.times import TimesError, parse_times

_ROLES = ("train", "query", "gallery", "test")
_COLUMNS = ("path", "label", "split", "camera", "bbox", "group", "time", "category")
_EXPECTED = (
    "columns path and label, optionally split (train, query, gallery or test), camera, bbox, group, time and category"
)


def manifest(
    path: str | Path,
    *,
    root: str | Path | None = None,
    held_out: float = 0.5,
    seed: int = 0,
    closed_set: bool = False,
    time_split: float | str | None = None,
) -> Splits:
    """Read a manifest (.csv, comma-separated UTF-8 with a header; or .parquet).

    Needed are the columns `path`, below `root` (the manifest's folder where None) and relative to it or absolute, and
    `label`, any text. These may stand beside them; others are passed over:

    - `split`: train with query (and gallery), or train with test, whose every image searches all the others.
    - `camera`, any text, numbered in sorted order over the whole table.
    - `bbox`, the part of the image that is meant: "x y width height" (or with commas; in Parquet also four numbers or
      a struct of x, y, width, height) in pixels of the upright image. Empty: the whole image. Such an image is called
      `path#xywh=x,y,width,height`.
    - `group`, any text: images that must stay together. Empty: the image is a group of its own.
    - `time`: ISO 8601 dates or date-times, or Unix seconds; one format in the whole table.
    - `category`, any text, the same for all images of a label.

    Without `split`, the classes are split (`split_classes` with `held_out` and `seed`), or with `time_split` the
    images, by their time (`split_by_time`). Rows keep their order. `closed_set` allows test classes that are trained
    on. An empty cell elsewhere, a missing or repeated column, an unknown split, malformed boxes and times, a label of
    two categories, groups that leave no test class, and a path that leaves `root` are a DataError naming file and line:
    a table from others must not put pictures of your own into a report. Where images lie elsewhere, name a `root` above
    them.
    """
    path = Path(path)
    images, splits = read_manifest(path, root)
    if time_split is not None:
        if splits is not None:
            raise DataError(f"{path}: found time_split and a column 'split', expected one of them")
        return _by_time(path, images, time_split, closed_set)
    if splits is None:
        return _by_classes(path, images, held_out, seed)

    roles = np.array(splits)
    unknown = np.flatnonzero(~np.isin(roles, _ROLES))
    if unknown.size:
        row = int(unknown[0])
        raise DataError(f"{row_of(path, row)}: found split {splits[row]!r}, expected {', '.join(_ROLES)}")
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
        raise DataError(f"{row_of(path, row)}: {error}") from error


def _by_classes(path: Path, images: ImageSet, held_out: float, seed: int) -> Splits:
    """`split_classes`, whose errors name the file, and the line of an image whose group joins classes."""
    try:
        return split_classes(images, held_out, seed)
    except JoinedClassesError as error:
        raise DataError(f"{row_of(path, images.names.index(error.image))}: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _by_time(path: Path, images: ImageSet, at: float | str, closed_set: bool) -> Splits:
    """`split_by_time`, whose errors name the file."""
    try:
        return split_by_time(images, at, closed_set=closed_set)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_manifest(path: Path, root: str | Path | None = None) -> tuple[ImageSet, list[str] | None]:
    """All images of a manifest as one set, and the cells of its column `split` if it has one."""
    table = read_table(path, _COLUMNS, ("path", "label"), _EXPECTED)
    texts = {
        name: full_cells(path, name, table[name], _EXPECTED)
        for name in ("path", "label", "split", "camera", "time", "category")
        if name in table
    }
    paths = tuple(texts["path"])
    if not paths:
        raise DataError(f"{path}: found no row, expected at least one image")
    below = path.parent if root is None else Path(root)
    for row, name in enumerate(paths):
        if not _is_below(name, below):
            where = f"paths below {below}, or the folder above all images (--images)"
            raise DataError(f"{row_of(path, row)}: found the image {name!r}, expected {where}")
    read: Reader = FileReader(str(below), paths)
    names = paths
    if "bbox" in table:
        read, names = _boxed(path, table["bbox"], read, paths)
    images = ImageSet.from_classes(
        texts["label"],
        names,
        read,
        _numbered(texts["camera"]) if "camera" in texts else None,
        groups=_group_numbers(text_cells(path, "group", table["group"])) if "group" in table else None,
        times=_times(path, texts["time"]) if "time" in texts else None,
        categories=_categories(path, texts["label"], texts["category"]) if "category" in texts else None,
    )
    return images, texts.get("split")


def _boxed(path: Path, column: Any, read: Reader, paths: tuple[str, ...]) -> tuple[Reader, tuple[str, ...]]:
    """The reader and the names of the parts of images that column `bbox` means."""
    boxes = np.full((len(paths), 4), np.nan)
    names = list(paths)
    for row, cell in enumerate(column.to_pylist()):
        try:
            box = parse_box(cell)
        except ValueError as error:
            raise DataError(f"{row_of(path, row)}: {error} (column 'bbox')") from error
        if box is not None:
            boxes[row] = box
            names[row] += box_text(box)
    return BoxReader(read, boxes, partial(_called, path, paths)), tuple(names)


def _called(path: Path, paths: tuple[str, ...], row: int) -> str:
    """Where a row stands and of which image it is, as errors of boxes begin."""
    return f"{row_of(path, row)}: {paths[row]}"


def _times(path: Path, cells: list[str]) -> Floats:
    try:
        return parse_times(cells)
    except TimesError as error:
        first, *others = error.rows
        where = row_of(path, first) + "".join(f" and {row_of(path, row).rpartition(', ')[2]}" for row in others)
        raise DataError(f"{where}: {error}") from error


def _categories(path: Path, labels: list[str], cells: list[str]) -> Ints:
    """Categories numbered in sorted order; a DataError for a label of two."""
    first: dict[str, int] = {}
    for row, label in enumerate(labels):
        earlier = first.setdefault(label, row)
        if cells[earlier] != cells[row]:
            other = row_of(path, row).rpartition(", ")[2]
            raise DataError(f"{row_of(path, earlier)} and {other}: found the categories {cells[earlier]!r} and "
                            f"{cells[row]!r} for the label {label!r}, expected one for each label")  # fmt: skip
    return _numbered(cells)


def _numbered(cells: list[str]) -> Ints:
    """The place of each cell among the distinct ones, sorted."""
    return np.unique(cells, return_inverse=True)[1].astype(np.int64)


def _group_numbers(cells: list[str | None]) -> Ints:
    """Groups numbered in sorted order, then an own number for each image without one."""
    numbers = np.empty(len(cells), dtype=np.int64)
    named = [row for row, cell in enumerate(cells) if cell is not None]
    numbers[named] = _numbered([cell for cell in cells if cell is not None])
    alone = np.setdiff1d(np.arange(len(cells)), named)
    numbers[alone] = int(numbers[named].max(initial=-1)) + 1 + np.arange(len(alone))
    return numbers


def _is_below(name: str, root: Path) -> bool:
    """Whether a path leads nowhere but below `root`, as far as its text says."""
    if os.pardir in name and os.pardir in PurePath(name).parts:
        return False
    return not os.path.isabs(name) or PurePath(name).is_relative_to(os.path.abspath(root))


MANIFEST = DataSet("manifest", manifest, title="your own images, listed in a table", layout=_EXPECTED)
