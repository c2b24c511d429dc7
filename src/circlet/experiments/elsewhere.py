"""Other data than a run's own, to be tested on or embedded: images, or vectors where the run has vectors."""

from pathlib import Path

from circlet.data import ImageSet, Splits, every_image, images_to_test
from circlet.data.vector_sets import every_vector, vectors_to_test
from circlet.experiments.experiment import DataConfig


def every_item(config: DataConfig, path: Path, below: Path | None = None) -> ImageSet:
    """All images of a folder or a manifest (`every_image`), or all vectors of a file (`every_vector`)."""
    if not config.of_vectors:
        return every_image(path, below)
    _require_none(below)
    return every_vector(path)


def items_to_test(config: DataConfig, path: Path, below: Path | None = None) -> Splits:
    """Those of them to test on, in the roles query and gallery (`images_to_test`, `vectors_to_test`)."""
    if not config.of_vectors:
        return images_to_test(path, below)
    _require_none(below)
    return vectors_to_test(path)


def _require_none(below: Path | None) -> None:
    if below is not None:
        raise ValueError(f"--images: found {below} with vectors, expected none: they are in the file itself")
