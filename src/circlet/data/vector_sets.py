"""Vectors of your own as a data set: in the roles of a split, all of a file at once, or those to test on."""

from pathlib import Path

import numpy as np

from circlet.data.data_set import DataSet
from circlet.data.every_image import rows_to_test
from circlet.data.images import NO_CLASS, DataError, ImageSet, Ints, Splits
from circlet.data.manifest import by_classes, by_column, group_numbers, require_distinct
from circlet.data.vector_files import EXPECTED, VectorTable, read_vectors
from circlet.data.vector_reader import VectorReader


def vectors(path: str | Path, *, held_out: float = 0.5, seed: int = 0, closed_set: bool = False) -> Splits:
    """Read labelled vectors of texts, sounds, tables, or of images by any network (`read_vectors` says from what).

    With the column `split`: train with query (and gallery), or with test or val, as in `manifest`. Without, the classes
    are split (`split_classes` with `held_out` and `seed`). Rows of one `group` stay together. closed_set: allow test
    classes that are trained on.

    DataError that names file and row for what cannot be: no label, one class alone, no class with two vectors, an id
    that is there twice, numbers that are not finite, lists of different lengths, a vector of zeros.
    """
    found, images = _labelled(Path(path))
    table = found.table
    if images.num_classes < 2:
        raise DataError(f"{table.path}: found one class ({images.class_names[0]!r}), expected at least two: some to "
                        "train on, others to test on")  # fmt: skip
    if int(np.bincount(images.labels).max()) < 2:
        raise DataError(f"{table.path}: found {images.num_classes} classes of one vector each, expected some with two "
                        "or more (is the column label the right one?)")  # fmt: skip
    if found.splits is None:
        return by_classes(table, images, held_out, seed)
    return by_column(table, images, found.splits, closed_set)


def every_vector(path: str | Path) -> ImageSet:
    """All vectors of a file as one set, whatever their splits; without labels, all are of one class."""
    found = read_vectors(path)
    return _images(found, found.labels or [NO_CLASS] * len(found.rows))


def vectors_to_test(path: str | Path) -> Splits:
    """The vectors of a file to test on, as `images_to_test` chooses them: `train` means nothing."""
    found, images = _labelled(Path(path))
    return rows_to_test(Path(path), images, found.splits)


def _labelled(path: Path) -> tuple[VectorTable, ImageSet]:
    found = read_vectors(path)
    if found.labels is None:
        beside = f" in {path.with_suffix('.csv').name} beside it" if path.suffix.lower() == ".npy" else ""
        raise DataError(f"{found.table.path}: found no label, expected a column label (or class){beside}")
    return found, _images(found, found.labels)


def _images(found: VectorTable, labels: list[str]) -> ImageSet:
    require_distinct(found.table, "label", labels)
    groups: Ints | None = None
    if found.groups is not None:
        require_distinct(found.table, "group", found.groups)
        groups = group_numbers(found.groups)
    return ImageSet.from_classes(labels, found.names, VectorReader(found.rows), groups=groups)


VECTORS = DataSet("vectors", vectors, title="your own vectors, in a Parquet file, or .npy with a table beside it",
                  layout=EXPECTED)  # fmt: skip
