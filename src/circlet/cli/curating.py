"""What audit, dedupe and cluster share: the images with their roles, their embeddings, and where results go."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from circlet.curate.audit import ROLES
from circlet.data import DataError, ImageSet, every_image
from circlet.data.folder import split_of
from circlet.data.images import Ints
from circlet.data.manifest import read_manifest
from circlet.data.split_folders import role_of
from circlet.experiments.remembered import SPLITS, read_remembered
from circlet.inference import Model
from circlet.progress import progress
from circlet.terminal import say

_TESTED = {"train": 0, "validation": 1, "test": 1, "query": 1, "gallery": 2}  # places in ROLES


def opened(path: Path, run: Path | None = None) -> tuple[ImageSet, Ints | None]:
    """All images of a folder or a manifest, and the role of each, by the run or else the split; None: there is none.

    A DataError where nothing is there, and for what `circlet.data.every_image` refuses.
    """
    if not path.exists():
        raise DataError(f"{path}: found nothing, expected a folder of images, or a manifest (.csv or .parquet)")
    images = every_image(path)
    roles = _of_run(images, run) if run is not None and (run / SPLITS).is_file() else _of_split(path, images)
    sides = set() if roles is None else {bool(role) for role in roles.tolist() if role >= 0}
    return images, roles if len(sides) == 2 else None


def embedded(
    model: Model, images: ImageSet, roles: Ints | None = None
) -> tuple[ImageSet, Tensor, Ints | None, list[tuple[str, str]]]:
    """The images that can be read, their rows and roles, and (name, reason) of each other; each is named at once."""
    rows, kept, broken = [], [], []
    with progress("embed", len(images), unit="image") as shown:
        for part in model.embed_parts(images):
            rows.append(part.rows)
            kept += part.indices
            for index, reason in part.broken:
                say(f"passed over: {reason}")
                broken.append((images.names[index], reason))
            shown.advance(len(part.indices) + len(part.broken))
    if not kept:
        raise DataError(f"found {len(images):,} images of which none can be read, expected at least one")
    place = np.array(kept)
    left = None if roles is None else roles[place]
    return (images if not broken else images.subset(place)), torch.cat(rows), left, broken


def outputs(out: Path, suffixes: Mapping[str, str]) -> dict[str, Path]:
    """The files to write, by what they are; an OSError at once where they cannot be written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {what: out.with_name(out.name + suffix) for what, suffix in suffixes.items()}
    for path in found.values():
        if path.is_dir():
            raise IsADirectoryError(f"{path}: found a folder, expected a file or nothing (--out)")
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"{out.parent}: found no right to write there, expected it for --out {out}")
    return found


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
