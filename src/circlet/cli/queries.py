"""What index, search, identify and verify share: the model that is named, opening an index, the images asked about."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from circlet.data import DataError, ImageSet
from circlet.data.table import TABLES
from circlet.data.vector_files import FILES, has_vectors
from circlet.index import Index
from circlet.inference import Model, image_set, load_model


class Asked(NamedTuple):
    """Images that could be read, their rows (n, dim), and (name, reason) of each of the others."""

    images: ImageSet
    rows: torch.Tensor
    skipped: list[tuple[str, str]]

    def skipped_json(self) -> list[dict[str, str]]:
        """The others, as JSON values."""
        return [{"image": name, "reason": reason} for name, reason in self.skipped]


def embedded_to_ask(model: Model, images: ImageSet) -> Asked:
    """The rows of images, with progress; each that cannot be read is named, a DataError where that is all of them."""
    if len(images) == 1:
        return Asked(images, model.embed(images), [])
    found = model.embed_readable(images, "skipped")
    if not found.indices:
        raise DataError(f"found {len(images):,} images of which none can be read (named above), expected at least one")
    skipped = [(images.names[index], reason) for index, reason in found.broken]
    return Asked(images.subset(found.indices) if skipped else images, found.rows, skipped)


def open_to_read(location: str, model: str | None, trust: Collection[str], device: torch.device) -> Index:
    """The index, to be searched alone; model: instead of the one that it names, which must give the same vectors."""
    given = None if model is None else load_model(model, trust=trust, device=device)
    return Index.open(location, given, read_only=True, trust=trust, device=device)


def chosen_source(run: Path | None, model: str | None) -> str | Path | None:
    """What `load_model` takes of --run and --model, of which one may be given; None: neither is."""
    if run is not None and model is not None:
        raise ValueError("--model: found with --run, expected one of the two")
    return run or model


@contextmanager
def expecting_images(path: Path) -> Iterator[None]:
    """What is said of a file of images; of one that has vectors and no images, that it has."""
    try:
        yield
    except DataError as error:
        if path.suffix.lower() not in FILES or not has_vectors(path):
            raise
        raise DataError(f"{path}: found vectors, expected images (a folder, or a manifest with path and label), since "
                        "it is pictures that are looked at here") from error  # fmt: skip


def asked_images(paths: Sequence[Path], index: Index | None = None) -> ImageSet:
    """The images to ask about: files, or all below one folder; a DataError names what is not there.

    Of an `index` of vectors, those of a file.
    """
    if not paths:
        raise ValueError("IMAGE: found none, expected image files, or a folder of images")
    vectors = len(paths) == 1 and paths[0].suffix.lower() in FILES
    if index is not None and vectors and index.model.of_vectors:
        return index.model.taken(paths[0])
    if len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix.lower() in TABLES):
        with expecting_images(paths[0]):
            return image_set(paths[0])
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: found nothing, expected an image, or a folder of images")
    return image_set(list(paths))
