"""`circlet embed`: the embeddings of images, as .npy for numbers and Parquet for tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from circlet.cli.common import Trust, choose_device
from circlet.data import every_image
from circlet.data.embedding_table import write_embeddings
from circlet.experiments import embed_with_run

DESCRIPTION = """Embed images with a trained run.

Writes OUT.npy, float32 (images, embedding_dim) in unit length, and OUT.parquet with a row for each image in the same
order: path, class, label, camera (if known), embedding.

examples:
  circlet embed runs/folder-1 photos --out photo-embeddings
  circlet embed runs/omniglot-1 --out test-characters"""


@dataclass(frozen=True)
class EmbedArguments:
    """Arguments of `circlet embed`."""

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
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


def main(arguments: list[str]) -> None:
    """Load, embed, write."""
    parsed = tyro.cli(EmbedArguments, args=arguments, prog="circlet embed", description=DESCRIPTION)
    device = choose_device(parsed.device)
    images = None if parsed.root is None else every_image(parsed.root, parsed.images)
    pixels, embeddings = embed_with_run(parsed.run, device, images=images, on_error=parsed.on_error, trust=parsed.trust)
    for name, reason in pixels.broken:
        print(f"skipped {name}: {reason}")
    npy, parquet = write_embeddings(parsed.out, pixels.images, embeddings.numpy())
    print(f"{len(embeddings)} embeddings of length {embeddings.shape[1]}: {npy}, {parquet}")
