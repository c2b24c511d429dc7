"""`circlet embed`: the embeddings of images, as .npy for numbers and Parquet for tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from circlet.cli.common import Trust, choose_device, outputs
from circlet.data import DataError, ImageSet, every_image
from circlet.data.embedding_table import write_embeddings
from circlet.data.images import FileReader
from circlet.data.table import TABLES
from circlet.experiments import embed_with_run
from circlet.terminal import printable, storable

DESCRIPTION = """Embed images with a trained run.

Writes OUT.npy, float32 (images, embedding_dim) in unit length, and OUT.parquet with a row for each image in the same
order: path, class, label, camera (if known), embedding. Both files are written, or neither. A path that is not UTF-8 is
stored with \\xNN for each byte that is not. Where the run's own images have moved: circlet train --resume RUN --root
PATH --no-report, once.

examples:
  circlet embed runs/folder-1 photos --out photo-embeddings
  circlet embed runs/folder-1 one.jpg
  circlet embed runs/folder-1 monday/*.jpg --out monday
  circlet embed runs/omniglot-1 --out test-characters"""


@dataclass(frozen=True)
class EmbedArguments:
    """Arguments of `circlet embed`."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    root: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[IMAGES ...]")] = ()
    """A folder (all images below it, classes by folder), a manifest, or one or more image files; by default the query
    images of the run."""
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
    images = _images(parsed.root, parsed.images)
    outputs(parsed.out, {suffix: suffix for suffix in (".npy", ".parquet")})  # before the work, which may take hours
    pixels, embeddings = embed_with_run(parsed.run, device, images=images, on_error=parsed.on_error, trust=parsed.trust)
    for name, reason in pixels.broken:
        print(f"skipped {printable(name)}: {printable(reason)}")
    written = write_embeddings(parsed.out, pixels.images, embeddings.numpy())
    files = ", ".join(printable(str(path)) for path in written)
    print(f"{len(embeddings)} embeddings of length {embeddings.shape[1]}: {files}")


def _images(paths: Sequence[Path], below: Path | None) -> ImageSet | None:
    """What to embed; None where nothing is named."""
    if not paths:
        if below is not None:
            raise ValueError(f"--images: found {below} without IMAGES, expected a manifest, whose paths start from it")
        return None
    first = paths[0]
    if len(paths) == 1 and (first.is_dir() or first.suffix.lower() in TABLES):
        return every_image(first, below)
    for path in paths:
        if path.is_dir() or path.suffix.lower() in TABLES:
            kind = "a folder" if path.is_dir() else "a table"
            raise DataError(f"{path}: found {kind} among {len(paths)} paths, expected it alone, or image files")
        if not path.exists():
            raise DataError(f"{path}: found nothing, expected an image, a folder of images, or a manifest (.csv or "
                            ".parquet)")  # fmt: skip
    if below is not None:
        raise ValueError("--images: found with image files, expected a manifest, whose paths start from it")
    names = [storable(path.as_posix()) for path in paths]
    return ImageSet.from_classes(
        [storable(path.parent.as_posix()) for path in paths], names, FileReader("", tuple(map(str, paths)))
    )
