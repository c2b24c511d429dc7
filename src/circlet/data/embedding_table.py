"""Embeddings on disk: a matrix for numbers, and a table with a row for each image. `manifest` reads the table."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from circlet.data.images import ImageSet, Ints
from circlet.files import write_atomically
from circlet.optional import need
from circlet.terminal import storable


def write_embeddings(
    path: Path, images: ImageSet, embeddings: np.ndarray[Any, np.dtype[np.float32]], *, listing: str | None = None
) -> tuple[Path, Path]:
    """Write `path`.npy, float32 (images, embedding_dim), and `path`.parquet, in the same order; the two files.

    Columns of the table: path, class, label, embedding, and camera where it is known; a name that is not UTF-8 is
    there as `storable` gives it. listing: the text of `path`.csv, which is written instead of the table. Both files are
    written in full before either is moved into its place; where one cannot be, both are left as they were.
    """
    suffix = ".parquet" if listing is None else ".csv"
    npy, beside = path.with_name(f"{path.name}.npy"), path.with_name(f"{path.name}{suffix}")
    npy.parent.mkdir(parents=True, exist_ok=True)

    def fill(file: BinaryIO) -> None:
        if listing is None:
            write_table(file, images, embeddings)
        else:
            file.write(listing.encode())

    def write_both(file: BinaryIO) -> None:
        np.save(file, embeddings)
        file.flush()
        os.fsync(file.fileno())  # now: nothing is left to fail once the table is in its place
        write_atomically(beside, fill)

    write_atomically(npy, write_both)
    return npy, beside


def described_by(images: ImageSet) -> dict[str, list[str] | Ints]:
    """Columns of the table beside the embeddings: path, class, label, and camera where it is known."""
    class_names = [storable(name) for name in images.class_names]
    columns: dict[str, list[str] | Ints] = {
        "path": [storable(name) for name in images.names],
        "class": [class_names[label] for label in images.labels],
        "label": images.labels,
    }
    return columns if images.cameras is None else {**columns, "camera": images.cameras}


def write_table(
    file: BinaryIO,
    images: ImageSet,
    embeddings: np.ndarray[Any, np.dtype[np.float32]],
    *,
    labels: Ints | None = None,
    notes: dict[str, str] | None = None,
) -> None:
    """Write the table alone, with the columns of `write_embeddings`.

    labels: where the images are a part of others, whose labels count. notes: kept in the file's own metadata.
    """
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.parquet

    described = described_by(images) | ({} if labels is None else {"label": labels})
    columns = {name: pa.array(values) for name, values in described.items()}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])
    if "camera" in columns:
        columns["camera"] = columns.pop("camera")  # the last column
    pyarrow.parquet.write_table(pa.table(columns, metadata=notes), file)
