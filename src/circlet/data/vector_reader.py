"""Vectors in the place of images: a set of them, which embeds as it is, and which pages draw as small squares.

Everything after the data knows `ImageSet` alone; `vectors_of` says whether one has vectors. Nothing is read from files
here (`vector_files`), and nothing is decoded: `circlet.data.pixels` hands the numbers on as they are.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from circlet.data.images import NO_CLASS, DataError, ImageSet
from circlet.data.readers import Chosen, Reader

if TYPE_CHECKING:
    from PIL.Image import Image

Rows = npt.NDArray[np.float32]

MOST_NUMBERS = 8192  # a head is a square matrix of so many rows: above this it would not fit anywhere


class VectorReader:
    """Reader of vectors: rows (n, dim), float32. Item i, to be looked at, is a picture of its numbers."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __call__(self, index: int) -> "Image":
        """The numbers of row `index` as squares, row by row: white is 0, blue above, orange below."""
        from PIL import Image

        row = self.rows[index].astype(np.float64)
        side = max(1, math.isqrt(len(row) - 1) + 1)
        largest = float(np.quantile(np.abs(row), 0.99)) or float(np.abs(row).max()) or 1.0
        shares = np.zeros(side * side)
        shares[: len(row)] = np.clip(row / largest, -1, 1)
        ends = np.where(shares[:, None] > 0, (27, 79, 147), (217, 95, 2))
        colours = 255 - np.abs(shares[:, None]) * (255 - ends)
        return Image.fromarray(colours.round().astype(np.uint8).reshape(side, side, 3))

    def content(self, index: int) -> bytes:
        """The bytes of row `index`."""
        content: bytes = self.rows[index].tobytes()
        return content


def vector_set(
    rows: npt.ArrayLike,
    labels: Sequence[object] | None = None,
    names: Sequence[str] | None = None,
    *,
    groups: npt.ArrayLike | None = None,
) -> ImageSet:
    """Vectors as a set that trains, tests and embeds as images do.

    >>> vector_set([[1.0, 0.0], [0.0, 1.0]], ["ant", "bee"]).names
    ('row 0', 'row 1')

    rows: (n, dim) numbers, finite, none of them all zeros: a zero vector has no direction. labels: (n,) texts or whole
    numbers; None: one class for all, to be embedded. names: (n,) distinct; None: by their row. groups: as in
    `ImageSet`.

    DataError that names the row.
    """
    found = np.asarray(rows)
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise DataError(f"vectors: found {found.dtype} {found.shape}, expected numbers (n, dim)")
    read = VectorReader(checked(found, "vectors, row {}"))
    called = [f"row {row}" for row in range(len(found))] if names is None else list(names)
    classes = [NO_CLASS] * len(found) if labels is None else [str(label) for label in labels]
    for name, given in (("labels", classes), ("names", called)):
        if len(given) != len(found):
            raise DataError(f"{name}: found {len(given)}, expected {len(found)}, one for each vector")
    if len(set(called)) < len(called):
        twice = next(name for name in called if called.count(name) > 1)
        raise DataError(f"names: found {twice!r} twice, expected one vector for each")
    return ImageSet.from_classes(classes, called, read, groups=groups)


def checked(rows: npt.NDArray[np.generic], where: str, first: int = 0) -> Rows:
    """The rows as float32; a DataError for one that no cosine can be taken of.

    where: what the message calls a row, with {} for its number, which is that in `rows` and `first` more.
    """
    if not 1 <= rows.shape[1] <= MOST_NUMBERS:
        advice = "; make them shorter first, such as by sklearn.decomposition.TruncatedSVD" if rows.shape[1] else ""
        raise DataError(f"{where.format(first)}: found {rows.shape[1]:,} numbers, expected 1 to "
                        f"{MOST_NUMBERS:,}{advice}")  # fmt: skip
    with np.errstate(over="ignore"):  # becomes infinity, which is found
        found = np.ascontiguousarray(rows, np.float32)
    finite = np.isfinite(found).all(1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        column = int(np.flatnonzero(~np.isfinite(found[row]))[0])
        raise DataError(f"{where.format(first + row)}: found {rows[row, column]} as number {column} of the vector, "
                        "expected finite numbers of single precision")  # fmt: skip
    if not (whole := found.any(1)).all():
        row = int(np.flatnonzero(~whole)[0])
        raise DataError(f"{where.format(first + row)}: found nothing but zeros, expected a vector with a direction "
                        "(leave such rows out)")  # fmt: skip
    return found


def has_vectors(read: Reader) -> bool:
    """Whether a set's reader has vectors."""
    return has_vectors(read.read) if isinstance(read, Chosen) else isinstance(read, VectorReader)


def vectors_of(read: Reader) -> Rows | None:
    """The vectors (n, dim) of a set's reader, in its order; None where it reads images."""
    if isinstance(read, Chosen):
        rows = vectors_of(read.read)
        return None if rows is None else rows[read.indices]
    return read.rows if isinstance(read, VectorReader) else None
