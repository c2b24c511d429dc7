"""What audit, dedupe and cluster share: the images with their roles, and their embeddings."""

from pathlib import Path

import numpy as np
from torch import Tensor

from circlet.cli.queries import expecting_images
from circlet.curate.audit import ROLES
from circlet.data import DataError, ImageSet, every_image
from circlet.data.folder import split_of
from circlet.data.images import Ints
from circlet.data.manifest import read_manifest
from circlet.data.split_folders import role_of
from circlet.experiments.remembered import SPLITS, read_remembered
from circlet.inference import Model
from circlet.terminal import say

_TESTED = {"train": 0, "validation": 1, "test": 1, "query": 1, "gallery": 2}  # places in ROLES


def opened(path: Path, run: Path | None = None) -> tuple[ImageSet, Ints | None]:
    """All images of a folder or a manifest, and the role of each, by the run or else the split; None: there is none.

    A DataError where nothing is there, and for what `circlet.data.every_image` refuses.
    """
    if not path.exists():
        raise DataError(f"{path}: found nothing, expected a folder of images, or a manifest (.csv or .parquet)")
    with expecting_images(path):
        images = every_image(path)
    roles = _of_run(images, run) if run is not None and (run / SPLITS).is_file() else _of_split(path, images)
    sides = set() if roles is None else {bool(role) for role in roles.tolist() if role >= 0}
    return images, roles if len(sides) == 2 else None


def embedded(
    model: Model, images: ImageSet, roles: Ints | None = None
) -> tuple[ImageSet, Tensor, Ints | None, list[tuple[str, str]]]:
    """The images that can be read, their rows and roles, and (name, reason) of each other; each is named at once."""
    found = model.embed_readable(images, "passed over")
    if not found.indices:
        raise DataError(f"found {len(images):,} images of which none can be read, expected at least one")
    broken = [(images.names[index], reason) for index, reason in found.broken]
    left = None if roles is None else roles[found.indices]
    return (images.subset(found.indices) if broken else images), found.rows, left, broken


def _of_run(images: ImageSet, run: Path) -> Ints | None:
    kept = read_remembered(run / SPLITS).roles
    role = {name: ROLES.index(part) for part, listed in kept.items() for name in listed.names}
    found = np.array([role.get(name, -1) for name in images.names], dtype=np.int64)
    if (found < 0).all():
        say(f"{run}: none of its images is among these by name, so leaks are not looked for")
        return None
    return found


def _of_split(path: Path, images: ImageSet) -> Ints | None:
    if path.is_dir():
        parts = {name: role for role, name in split_of(path).items()}
        cells = [name.partition("/")[0] for name in images.names]
    else:
        split = read_manifest(path)[1]
        if split is None:
            return None
        parts = {cell: role for cell in set(split) if (role := role_of(cell)) is not None}
        cells = split
    if not parts:
        return None
    return np.array([_TESTED.get(parts.get(cell, ""), -1) for cell in cells], dtype=np.int64)
