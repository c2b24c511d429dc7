"""Embeddings on disk: a matrix for numbers, and a table with a row for each image. `manifest` reads the table."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from circlet.data.images import ImageSet
from circlet.files import write_atomically


def write_embeddings(
    path: Path, images: ImageSet, embeddings: np.ndarray[Any, np.dtype[np.float32]]
) -> tuple[Path, Path]:
    """Write `path`.npy, float32 (images, embedding_dim), and `path`.parquet, in the same order; the two files.

    Columns of the table: path, class, label, embedding, and camera where it is known.
    """
    npy, parquet = path.with_name(f"{path.name}.npy"), path.with_name(f"{path.name}.parquet")
    npy.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(npy, lambda file: np.save(file, embeddings))
    write_atomically(parquet, lambda file: _write_parquet(file, images, embeddings))
    return npy, parquet


def _write_parquet(file: BinaryIO, images: ImageSet, embeddings: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    columns = {
        "path": pa.array(images.names),
        "class": pa.array([images.class_names[label] for label in images.labels]),
        "label": pa.array(images.labels),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1]),
    }
    if images.cameras is not None:
        columns["camera"] = pa.array(images.cameras)
    pyarrow.parquet.write_table(pa.table(columns), file)
