"""Images that a manifest lists more than once, by their names: taken once, or an error where the rows contradict.

One image under several names is not found here (`circlet.data.copies`).
"""

from collections.abc import Sequence

import numpy as np

from circlet.data.images import DataError, ImageSet, Ints
from circlet.data.notes import cut, say_once, shown, some
from circlet.data.table import Table


def listed_once(table: Table, images: ImageSet, splits: Sequence[str] | None) -> Ints | None:
    """The rows (M,) that list an image the first time in their split, which is told; None where all do.

    DataError where an image has two labels or two cameras.
    """
    if len(set(images.names)) == len(images):
        return None
    first: dict[str, int] = {}
    first_in_split: dict[tuple[str, str], int] = {}
    again: list[tuple[int, int]] = []
    for row, name in enumerate(images.names):
        earlier = first.setdefault(name, row)
        if earlier != row:
            _require_agreement(table, images, earlier, row)
        same = first_in_split.setdefault((name, splits[row] if splits is not None else ""), row)
        if same != row:
            again.append((same, row))
    if not again:
        return None
    listed = some([f"{cut(images.names[row])} in {table.line(same)} and {table.line(row)}" for same, row in again])
    rows = "rows list an image" if len(again) > 1 else "row lists an image"
    say_once(f"warning: {table.path}: {len(again)} {rows} once more, which is taken once: {listed}")
    return np.setdiff1d(np.arange(len(images), dtype=np.int64), np.array([row for _, row in again], dtype=np.int64))


def require_apart(table: Table, images: ImageSet, splits: Sequence[str], train: str) -> None:
    """DataError where an image is in the split `train` and in another."""
    trained = {images.names[row]: row for row, split in enumerate(splits) if split == train}
    for row, split in enumerate(splits):
        earlier = trained.get(images.names[row])
        if split != train and earlier is not None:
            raise DataError(f"{table.where(earlier)} and {table.line(row)}: found the image {shown(images.names[row])} "
                            f"in {train} and in {split}, expected other images in the test than in the "
                            "training")  # fmt: skip


def _require_agreement(table: Table, images: ImageSet, earlier: int, row: int) -> None:
    names = images.class_names
    found = [("labels", [shown(names[images.labels[i]]) for i in (earlier, row)])]
    if images.cameras is not None:
        found.append(("cameras", [f"number {images.cameras[i]}" for i in (earlier, row)]))
    for what, (one, other) in found:
        if one != other:
            raise DataError(f"{table.where(earlier)} and {table.line(row)}: found the image "
                            f"{shown(images.names[row])} under the {what} {one} and {other}, expected one of "
                            "them")  # fmt: skip
