"""`circlet embed`: the embeddings of images, as .npy for numbers and Parquet for tables."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
import tyro

from circlet.cli.common import choose_device
from circlet.data import ImageSet, every_image
from circlet.files import write_atomically
from circlet.recipes import build_splits, embed_pixels, load_pixels, load_run

DESCRIPTION = """Embed images with a trained run.

Writes OUT.npy, float32 (images, embedding_dim) in unit length, and OUT.parquet with a row for each image in the same
order: path, class, label, camera (if known), embedding.

examples:
  circlet embed runs/folder-1 photos --out photo-embeddings
  circlet embed runs/omniglot-1 --out test-characters"""


@dataclass(frozen=True)
class EmbedArguments:
    """What `circlet embed` is told."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    root: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[IMAGES]")] = None
    """A folder (all images below it, classes by folder) or a manifest; by default the query images of the run."""
    images: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The folder that a manifest's paths start from and must stay below; by default the manifest's own."""
    out: Path = Path("embeddings")
    """Path of the files to write, without their suffix."""
    on_error: Literal["raise", "skip"] = "raise"
    """raise or skip: what to do at a missing or broken image."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Load, embed, write."""
    told = tyro.cli(EmbedArguments, args=arguments, prog="circlet embed", description=DESCRIPTION)
    device = choose_device(told.device)
    experiment, model = load_run(told.run, device)
    images = build_splits(experiment.data).query if told.root is None else every_image(told.root, told.images)
    config = replace(experiment.data, on_error=told.on_error)
    pixels, broken = load_pixels(images, config)
    for name, reason in broken:
        print(f"skipped {name}: {reason}")
    embeddings = embed_pixels(model, pixels, experiment, device).numpy()
    npy, parquet = told.out.with_name(told.out.name + ".npy"), told.out.with_name(told.out.name + ".parquet")
    npy.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(npy, lambda file: np.save(file, embeddings))
    write_atomically(parquet, lambda file: _write_parquet(file, pixels.images, embeddings))
    print(f"{len(embeddings)} embeddings of length {embeddings.shape[1]}: {npy}, {parquet}")


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
