"""The images of a folder or a manifest as one set, whatever their splits: to embed them all; or those to test on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from circlet.data.folder import folder_to_test, scan_folder, split_of
from circlet.data.images import NO_CLASS, DataError, ImageSet, Splits
from circlet.data.manifest import read_manifest
from circlet.data.notes import say_once
from circlet.data.passed_over import PassedOver
from circlet.data.split_folders import choose_tested, find_split
from circlet.data.walk import what_is_at

_SPLITS = "train, query (and gallery) or test in the column split"


def every_image(path: str | Path, root: str | Path | None = None) -> ImageSet:
    """All images below a folder, or all rows of a manifest, whose paths start from `root` (see `manifest`).

    In a folder the class of an image is the folder that holds it, relative to `path` ("." for `path` itself). Where the
    folders at the top are the parts of a split, it is relative to its part, so that a class that is in two of them is
    one: this, and files that are passed over, are said on standard error. What could be a split but is not plainly one
    is a DataError (`image_folder`).
    """
    path = Path(path)
    if not _is_folder(path):
        return read_manifest(path, root)[0]
    parts = list(split_of(path).values())
    passed = PassedOver()
    images = scan_folder(path, path, passed, unsorted=True)
    passed.tell(str(path))
    if not parts:
        return images
    say_once(f"{path}: takes all of {', '.join(parts)}; the classes are the folders in them")
    names = [images.class_names[label].partition("/")[2] or NO_CLASS for label in images.labels]
    return ImageSet.from_classes(names, images.names, images.read)


def images_to_test(path: str | Path, root: str | Path | None = None) -> Splits:
    """The images of a folder or a manifest to test on: its query (with gallery), else its test, else its validation.

    They are `query` and `gallery` of what is returned, whose `train` means nothing. Which part is taken is said on
    standard error. Where there is no split, or train alone, they are all that there are.

    A DataError for what could be a split but is not plainly one (`image_folder`).
    """
    path = Path(path)
    if _is_folder(path):
        return folder_to_test(path)
    return rows_to_test(path, *read_manifest(path, root))


def rows_to_test(path: Path, images: ImageSet, cells: Sequence[str] | None) -> Splits:
    """The rows of a table to test on, as `images_to_test` says; cells: of its column `split`, None without one."""
    if cells is None:
        return Splits(images, images, closed_set=True)
    parts = find_split(str(path), sorted(set(cells)), kind="values")
    tested = choose_tested(str(path), parts, _SPLITS, kind="values")
    if tested is None:
        return Splits(images, images, closed_set=True)
    tested.tell(str(path), parts.values())
    query, gallery = (
        None if part is None else images.subset(np.flatnonzero([cell == part for cell in cells]))
        for part in (tested.query, tested.gallery)
    )
    assert query is not None
    return Splits(query, query, gallery, closed_set=True)


def _is_folder(path: Path) -> bool:
    found = what_is_at(path)
    if found == "nothing":
        raise DataError(f"{path}: found nothing, expected a folder of images, or a manifest (.csv or .parquet)")
    return found == "a folder"
