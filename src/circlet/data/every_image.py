"""Every image of a folder or a manifest as one set, whatever its splits: to embed it or to test on all of it."""

from pathlib import Path

from circlet.data.folder import scan_folder
from circlet.data.images import DataError, ImageSet
from circlet.data.manifest import read_manifest


def every_image(path: str | Path, root: str | Path | None = None) -> ImageSet:
    """All images below a folder, or all rows of a manifest, whose paths start from `root` (see `manifest`).

    In a folder the class of an image is the folder that holds it, relative to `path` ("." for `path` itself).
    """
    path = Path(path)
    if path.is_dir():
        return scan_folder(path, path, unsorted=True)
    if not path.exists():
        raise DataError(f"{path}: found nothing, expected a folder of images, or a manifest (.csv or .parquet)")
    return read_manifest(path, root)[0]
