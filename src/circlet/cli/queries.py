"""What index, search, identify and verify share: the model that is named, opening an index, the images asked about."""

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from circlet.data import DataError, ImageSet
from circlet.data.table import TABLES
from circlet.index import Index
from circlet.inference import image_set, load_model


def open_to_read(location: str, model: str | None, trust: Collection[str], device: torch.device) -> Index:
    """The index, to be searched alone; model: instead of the one that it names, which must give the same vectors."""
    given = None if model is None else load_model(model, trust=trust, device=device)
    return Index.open(location, given, read_only=True, trust=trust, device=device)


def chosen_source(run: Path | None, model: str | None) -> str | Path | None:
    """What `load_model` takes of --run and --model, of which one may be given; None: neither is."""
    if run is not None and model is not None:
        raise ValueError("--model: found with --run, expected one of the two")
    return run or model


def asked_images(paths: Sequence[Path]) -> ImageSet:
    """The images to ask about: files, or all below one folder; a DataError names what is not there."""
    if not paths:
        raise ValueError("IMAGE: found none, expected image files, or a folder of images")
    if len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix.lower() in TABLES):
        return image_set(paths[0])
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: found nothing, expected an image, or a folder of images")
    return image_set(list(paths))
