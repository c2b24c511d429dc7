"""`circlet embed`: the embeddings of images, as .npy for numbers and Parquet for tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from circlet.cli.common import Trust, by_all_ranks, outputs
from circlet.curate.spreadsheet import csv_text
from circlet.data import DataError, ImageSet
from circlet.data.embedding_table import described_by, write_embeddings
from circlet.data.images import FileReader
from circlet.data.table import TABLES
from circlet.distributed import silence_other_ranks
from circlet.experiments import DataConfig, embed_with_run, open_run
from circlet.experiments.elsewhere import every_item
from circlet.experiments.trained import query_images
from circlet.inference.parts import embed_in_parts
from circlet.optional import there_is
from circlet.terminal import printable, storable

DESCRIPTION = """Embed images with a trained run.

Writes OUT.npy, float32 (images, embedding_dim) in unit length, and OUT.parquet with a row for each image in the same
order: path, class, label, camera (if known), embedding. Without pyarrow (pip's extra: circlet[parquet]) the table is
OUT.csv, without the embeddings. Both files are written, or neither. A path that is not UTF-8 is
stored with \\xNN for each byte that is not. With --format parts OUT becomes a folder of Parquet files of --part-images
images each, for collections that take hours: a part is whole or not there, and the same command goes on with the
missing ones. Where the run's own images have moved: circlet train --resume RUN --root
PATH --no-report, once.

examples:
  circlet embed runs/folder-1 photos --out photo-embeddings
  circlet embed runs/folder-1 one.jpg
  circlet embed runs/folder-1 monday/*.jpg --out monday
  circlet embed runs/omniglot-1 --out test-characters
  circlet embed runs/vectors-1 more-features.parquet
  torchrun --nproc-per-node 2 -m circlet embed runs/folder-1 photos --format parts --out photo-embeddings

Under torchrun the processes share the images out; all must see OUT."""


@dataclass(frozen=True)
class EmbedArguments:
    """Arguments of `circlet embed`."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder of circlet train."""
    root: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="[IMAGES ...]")] = ()
    """A folder (all images below it, classes by folder), a manifest, or one or more image files; of a run on vectors a
    file of these; by default the query images of the run."""
    images: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """The folder that a manifest's paths start from and must stay below; by default the manifest's own."""
    out: Path = Path("embeddings")
    """Path of the files to write, without their suffix; with --format parts the folder."""
    format: Literal["files", "parts"] = "files"
    """files: one of numbers and one table, written at the end; parts: a folder of tables, each as it is made."""
    part_images: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """With --format parts: how many images are in a part; by default as in the parts that are there, or 4096."""
    on_error: Literal["raise", "skip"] = "raise"
    """raise or skip: what to do at a missing or broken image."""
    trust: Trust = ()
    """Names (package.module:name) in the run's settings that may be imported."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    timeout: float = 600.0
    """Seconds after which a process started by torchrun gives up on another that does not answer."""


def main(arguments: list[str]) -> None:
    """Load, embed, write; the ranks that torchrun has started share the images out, and the first speaks."""
    with silence_other_ranks():
        parsed = tyro.cli(EmbedArguments, args=arguments, prog="circlet embed", description=DESCRIPTION)
        by_all_ranks(parsed.device, parsed.timeout, lambda device: _embed(parsed, device))


def _embed(parsed: EmbedArguments, device: torch.device) -> None:
    if parsed.format != "parts":  # before anything is read, and the work, which may take hours
        outputs(parsed.out, {suffix: suffix for suffix in (".npy", ".parquet", ".csv")})
    _, settings = open_run(parsed.run, needed=())
    images = _images(settings.data, parsed.root, parsed.images)
    if parsed.format == "parts":
        _embed_in_parts(parsed, device, images)
        return
    if parsed.part_images is not None:
        raise ValueError(f"--part-images: found {parsed.part_images} without --format parts, expected both")
    pixels, embeddings = embed_with_run(parsed.run, device, images=images, on_error=parsed.on_error, trust=parsed.trust)
    for name, reason in pixels.broken:
        print(f"skipped {printable(name)}: {printable(reason)}")
    listing = None if there_is("pyarrow") else _listing(pixels.images)
    written = write_embeddings(parsed.out, pixels.images, embeddings.numpy(), listing=listing)
    files = ", ".join(printable(str(path)) for path in written)
    print(f"{len(embeddings)} embeddings of length {embeddings.shape[1]}: {files}")


def _listing(images: ImageSet) -> str:
    """The table without the embeddings, as CSV."""
    columns = described_by(images)
    return csv_text(list(columns), zip(*columns.values(), strict=True), paths=("path",))


def _embed_in_parts(parsed: EmbedArguments, device: torch.device, images: ImageSet | None) -> None:
    chosen = query_images(parsed.run, trust=parsed.trust) if images is None else images
    found = embed_in_parts(
        parsed.run, chosen, parsed.out, part_images=parsed.part_images, on_error=parsed.on_error, trust=parsed.trust,
        device=device,
    )  # fmt: skip
    for name, reason in found.broken:
        print(f"skipped {printable(name)}: {printable(reason)}")
    print(f"{found.rows} embeddings of length {found.dim}, {found.made} of them new: {printable(str(parsed.out))} "
          f"({found.parts} part{'' if found.parts == 1 else 's'})")  # fmt: skip


def _images(config: DataConfig, paths: Sequence[Path], below: Path | None) -> ImageSet | None:
    """What to embed; None where nothing is named."""
    if not paths:
        if below is not None:
            raise ValueError(f"--images: found {below} without IMAGES, expected a manifest, whose paths start from it")
        return None
    first = paths[0]
    if config.of_vectors and len(paths) > 1:
        raise DataError(f"{first}: found it with {len(paths) - 1} more, expected one file of vectors")
    if config.of_vectors or (len(paths) == 1 and (first.is_dir() or first.suffix.lower() in TABLES)):
        return every_item(config, first, below)
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
