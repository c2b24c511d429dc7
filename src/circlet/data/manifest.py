"""Manifests: a CSV or Parquet table with one image a row.

Only the table is read: whether the files exist, hold images and hold the boxes shows when they are decoded.
"""

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path, PurePath

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
from circlet.data.listed_twice import listed_once, require_apart
from circlet.data.lookalikes import lookalikes
from circlet.data.notes import cut, shown
from circlet.data.readers import Reader
from circlet.data.split_folders import choose_tested, find_split, role_of
from circlet.data.table import Table, read_table
from circlet.data.time_split import split_by_time
from circlet.data.times import TimesError, parse_times

_SPLITS = "train with query (and gallery), test or val, as all rows of the column split"
_COLUMNS = ("path", "label", "split", "camera", "bbox", "group", "time", "category")
_LONGEST_BOX = 200  # characters
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_800  # of the years 1 to 9999
_EXPECTED = (
    "columns path and label, optionally split (train, query, gallery, test or val), camera, bbox, group, time and "
    "category"
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

    - `split`: train with query (and gallery), or train with test or val, whose every image searches all the others.
      The names are those of split folders (`image_folder`); with both test and val, val is left alone, which is told.
    - `camera`, any text, numbered in sorted order over the whole table.
    - `bbox`, the part of the image that is meant: "x y width height" (or with commas; in Parquet also four numbers or
      a struct of x, y, width, height) in pixels of the upright image. Empty: the whole image. Such an image is called
      `path#xywh=x,y,width,height`.
    - `group`, any text: images that must stay together. Empty: the image is a group of its own.
    - `time`: ISO 8601 dates or date-times, or Unix seconds; one format in the whole table.
    - `category`, any text, the same for all images of a label.

    Without `split`, the classes are split (`split_classes` with `held_out` and `seed`), or with `time_split` the
    images, by their time (`split_by_time`). Rows keep their order. `closed_set` allows test classes that are trained
    on. An image that is listed twice in one role is taken once, and told of on standard error.

    An empty cell elsewhere, a missing or repeated column, an unknown split, malformed boxes and times, a label of two
    categories, an image under two labels or cameras or in train and in the test, labels (cameras, groups, categories)
    that differ by blanks or Unicode's normal form alone, groups that leave no test class, and a path that leaves `root`
    are a DataError naming file and line: a table from others must not put pictures of your own into a report. Where
    images lie elsewhere, name a `root` above them.
    """
    table, images, splits = _read(Path(path), root)
    path = table.path
    kept = listed_once(table, images, splits)
    if kept is not None:
        images, table = images.subset(kept), table.at(kept)
        splits = None if splits is None else [splits[row] for row in kept.tolist()]
    if time_split is not None:
        if splits is not None:
            raise DataError(f"{path}: found time_split and a column 'split', expected one of them")
        return _by_time(path, images, time_split, closed_set)
    if splits is None:
        return by_classes(table, images, held_out, seed)

    return by_column(table, images, splits, closed_set)


def by_column(table: Table, images: ImageSet, cells: list[str], closed_set: bool) -> Splits:
    """The parts that the cells of the column `split` name, by the names that split folders have."""
    role_of_cell = {cell: role_of(cell) for cell in dict.fromkeys(cells)}
    unknown = next((cell for cell, role in role_of_cell.items() if role is None), None)
    if unknown is not None:
        raise DataError(f"{table.where(cells.index(unknown))}: found split {shown(unknown)}, expected {_SPLITS}")
    where = str(table.path)
    parts = find_split(where, sorted(role_of_cell), kind="values")
    tested = choose_tested(where, parts, _SPLITS, kind="values")
    if tested is None or "train" not in parts:
        raise DataError(f"{where}: found the splits {', '.join(sorted(parts.values()))}, expected {_SPLITS}")
    tested.tell_training(where, parts)
    if tested.left:
        used = np.flatnonzero([cell not in tested.left for cell in cells])
        images, table, cells = images.subset(used), table.at(used), [cells[row] for row in used.tolist()]
    train, query, gallery = (
        None if part is None else images.subset(np.flatnonzero([cell == part for cell in cells]))
        for part in (parts["train"], tested.query, tested.gallery)
    )
    assert train is not None
    assert query is not None
    try:
        read = Splits(train, query, gallery, closed_set)
    except SeenClassError as error:
        row = next(i for i, cell in enumerate(cells) if cell != parts["train"] and images.names[i] == error.image)
        raise DataError(f"{table.where(row)}: {error}") from error
    require_apart(table, images, cells, parts["train"])
    return read


def by_classes(table: Table, images: ImageSet, held_out: float, seed: int) -> Splits:
    """`split_classes`, whose errors name the file, and the line of an image whose group joins classes."""
    try:
        return split_classes(images, held_out, seed)
    except JoinedClassesError as error:
        raise DataError(f"{table.where(images.names.index(error.image))}: {error}") from error
    except DataError as error:
        raise DataError(f"{table.path}: {error}") from error


def _by_time(path: Path, images: ImageSet, at: float | str, closed_set: bool) -> Splits:
    """`split_by_time`, whose errors name the file."""
    try:
        return split_by_time(images, at, closed_set=closed_set)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_manifest(path: Path, root: str | Path | None = None) -> tuple[ImageSet, list[str] | None]:
    """All images of a manifest as one set, and the cells of its column `split` if it has one."""
    return _read(path, root)[1:]


def _read(path: Path, root: str | Path | None) -> tuple[Table, ImageSet, list[str] | None]:
    table = read_table(path, _COLUMNS, ("path", "label"), _EXPECTED)
    texts = {
        name: table.full(name, _EXPECTED) for name in ("label", "split", "camera", "time", "category") if name in table
    }
    groups = table.texts("group", _EXPECTED) if "group" in table else None
    paths, names, boxes = _named(table)
    below = path.parent if root is None else Path(root)
    start = os.path.join(os.path.abspath(below), "")
    for row, name in enumerate(paths):
        if not _is_below(name, start):
            where = f"paths below {below}, or the folder above all images (--images)"
            raise DataError(f"{table.where(row)}: found the image {shown(name)}, expected {where}")
    for name in ("label", "camera", "category"):
        require_distinct(table, name, texts.get(name, []))
    require_distinct(table, "group", groups or [])
    read: Reader = FileReader(str(below), paths)
    images = ImageSet.from_classes(
        texts["label"],
        names,
        read if boxes is None else BoxReader(read, boxes, partial(_called, table, paths)),
        _numbered(texts["camera"]) if "camera" in texts else None,
        groups=None if groups is None else group_numbers(groups),
        times=_times(table, texts["time"]) if "time" in texts else None,
        categories=_categories(table, texts["label"], texts["category"]) if "category" in texts else None,
    )
    return table, images, texts.get("split")


def places(path: Path) -> Callable[[str], str]:
    """What messages call the images of a manifest, by their names: file, line and name. It is read when first asked."""

    @cache
    def listed() -> tuple[Table, dict[str, int]]:
        table = read_table(path, _COLUMNS, ("path", "label"), _EXPECTED)
        return table, {name: row for row, name in reversed(list(enumerate(_named(table)[1])))}

    def place(name: str) -> str:
        table, row_of = listed()
        return f"{table.where(row_of[name])} ({name})" if name in row_of else name

    return place


def _named(table: Table) -> tuple[tuple[str, ...], tuple[str, ...], Floats | None]:
    """The paths of the images, their names, and the parts (N, 4) of them that column `bbox` means."""
    paths = tuple(table.full("path", _EXPECTED))
    if not paths:
        raise DataError(f"{table.path}: found no row, expected at least one image")
    if "bbox" not in table:
        return paths, paths, None
    boxes = np.full((len(paths), 4), np.nan)
    names = list(paths)
    for row, cell in enumerate(table.cells("bbox")):
        try:
            if isinstance(cell, str) and len(cell) > _LONGEST_BOX:
                raise ValueError(f"found the box {shown(cell)}, expected x y width height")
            box = parse_box(cell)
        except ValueError as error:
            raise DataError(f"{table.where(row)}: {error} (column 'bbox')") from error
        if box is not None:
            boxes[row] = box
            names[row] += box_text(box)
    return paths, tuple(names), boxes


def _called(table: Table, paths: tuple[str, ...], row: int) -> str:
    """Where a row stands and of which image it is, as errors of boxes begin."""
    return f"{table.where(row)}: {paths[row]}"


def require_distinct(table: Table, name: str, cells: Sequence[str | None]) -> None:
    """DataError where two cells look the same and are not, so that one class would be two."""
    first: dict[str, int] = {}
    for row, cell in enumerate(cells):
        if cell is not None:
            first.setdefault(cell, row)
    alike = lookalikes(first)
    if alike is not None:
        one, other = (first[cell] for cell in alike)
        what = "label" if name == "label" else f"column {name!r}"
        texts = " and ".join(ascii(cut(cell)) for cell in alike)  # tells normal forms apart
        raise DataError(f"{table.where(one)} and {table.line(other)}: found {texts} in {what}, which differ by blanks "
                        "or by what does not show, expected one spelling")  # fmt: skip


def _times(table: Table, cells: list[str]) -> Floats:
    try:
        seconds = parse_times(cells)
    except TimesError as error:
        first, *others = error.rows
        where = table.where(first) + "".join(f" and {table.line(row)}" for row in others)
        raise DataError(f"{where}: {error}") from error
    beyond = np.flatnonzero((seconds < _FIRST_SECOND) | (seconds >= _LAST_SECOND))
    if beyond.size:
        row = int(beyond[0])
        raise DataError(f"{table.where(row)}: found the time {shown(cells[row])}, expected one of the years 1 to 9999, "
                        "in seconds and not in milliseconds")  # fmt: skip
    return seconds


def _categories(table: Table, labels: list[str], cells: list[str]) -> Ints:
    """Categories numbered in sorted order; a DataError for a label of two."""
    first: dict[str, int] = {}
    for row, label in enumerate(labels):
        earlier = first.setdefault(label, row)
        if cells[earlier] != cells[row]:
            raise DataError(f"{table.where(earlier)} and {table.line(row)}: found the categories "
                            f"{shown(cells[earlier])} and {shown(cells[row])} for the label {shown(label)}, expected "
                            "one for each label")  # fmt: skip
    return _numbered(cells)


def _numbered(cells: list[str]) -> Ints:
    """The place of each cell among the distinct ones, sorted."""
    number_of = {cell: number for number, cell in enumerate(sorted(set(cells)))}
    return np.array([number_of[cell] for cell in cells], dtype=np.int64)


def group_numbers(cells: list[str | None]) -> Ints:
    """Groups numbered in sorted order, then an own number for each image without one."""
    numbers = np.empty(len(cells), dtype=np.int64)
    named = [row for row, cell in enumerate(cells) if cell is not None]
    numbers[named] = _numbered([cell for cell in cells if cell is not None])
    alone = np.setdiff1d(np.arange(len(cells)), named)
    numbers[alone] = int(numbers[named].max(initial=-1)) + 1 + np.arange(len(alone))
    return numbers


def _is_below(name: str, start: str) -> bool:
    """Whether a path leads nowhere but below a root, as far as its text says; absolute ones have the root's `start`."""
    if os.pardir in name and os.pardir in PurePath(name).parts:
        return False
    return not os.path.isabs(name) or name.startswith(start)


MANIFEST = DataSet("manifest", manifest, title="your own images, listed in a table", layout=_EXPECTED, places=places)
