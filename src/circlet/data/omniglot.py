"""Omniglot (Lake et al. 2015): handwritten characters, the two official five-alphabet subsets.

Each character was drawn once by each of 20 people, 105 x 105 pixels, black on white. Train: all five alphabets of
images_background_small1 (136 characters, 2,720 images). Test: the alphabets that are only in images_background_small2,
which are Japanese (katakana), Sanskrit and Tagalog (106 characters, 2,120 images). Latin and Greek are in both archives
and are left out of the test: their characters would not be unseen. The full 50 alphabets are not read here.
"""

import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from circlet.data.archive import ZipReader
from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import DataError, FileReader, ImageSet, Splits
from circlet.download import cache_dir, download, sha256_of

if TYPE_CHECKING:
    from PIL.Image import Image

URL = "https://github.com/brendenlake/omniglot/raw/master/python/{name}.zip"


class Archive(NamedTuple):
    """One official archive: `name`.zip, its checksum, and what it holds."""

    name: str
    sha256: str
    num_images: int
    alphabets: tuple[str, ...]


SMALL1 = Archive(
    "images_background_small1",
    "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
    2720,
    ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"),
)
SMALL2 = Archive(
    "images_background_small2",
    "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
    3120,
    ("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"),
)


def omniglot(root: str | Path | None = None) -> Splits:
    """Read the two small subsets of Omniglot; a class is "Alphabet/character01", every query searches all the others.

    `root` holds images_background_small1.zip and images_background_small2.zip, or these folders unpacked; directly or
    below python/, as in the official repository. Without `root`, the archives are fetched once (6 MB) into the cache
    folder (`cache_dir`). Archives are read where they lie, after a check of their SHA-256; a wrong one, or an unpacked
    folder with images missing, is a DataError.
    """
    train, test = _source(root, SMALL1), _source(root, SMALL2)
    seen = set(SMALL1.alphabets)
    unseen = [index for index, label in enumerate(test.labels) if test.class_names[label].split("/")[0] not in seen]
    return Splits(train, test.subset(unseen))


def _source(root: str | Path | None, archive: Archive) -> ImageSet:
    """Find one archive as a zip file or a folder, and list its images."""
    if root is None:
        path = cache_dir() / f"{archive.name}.zip"
        url = URL.format(name=archive.name)
        try:
            download(url, path, archive.sha256)
        except OSError as error:
            raise DataError(
                f"{error}; to use copies that you have, put {SMALL1.name}.zip and {SMALL2.name}.zip into one folder "
                "and name it as root (--root on the command line)"
            ) from error
        return _from_zip(path, archive)
    for folder in (Path(root), Path(root) / "python"):
        if (path := folder / f"{archive.name}.zip").is_file():
            if (found := sha256_of(path)) != archive.sha256:
                raise DataError(
                    f"{path}: found SHA-256 {found}, expected {archive.sha256}; it is damaged or another file"
                )
            return _from_zip(path, archive)
        if (folder / archive.name).is_dir():
            return _from_folder(folder, archive)
    raise DataError(f"{root}: found neither {archive.name}.zip nor the folder {archive.name}, expected one of them")


def _from_zip(path: Path, archive: Archive) -> ImageSet:
    try:
        with zipfile.ZipFile(path) as opened:
            members = opened.namelist()
    except zipfile.BadZipFile as error:
        raise DataError(f"{path}: found no zip archive ({error}), expected {archive.name}.zip") from error
    return _image_set(path, archive, members, lambda names: ZipReader(str(path), names))


def _from_folder(folder: Path, archive: Archive) -> ImageSet:
    paths = [path.relative_to(folder).as_posix() for path in (folder / archive.name).glob("*/*/*.png")]
    return _image_set(folder, archive, paths, lambda names: FileReader(str(folder), names))


def _image_set(
    where: Path,
    archive: Archive,
    paths: Iterable[str],
    reader: "Callable[[tuple[str, ...]], Callable[[int], Image]]",
) -> ImageSet:
    """Keep the paths that are images of the archive (archive/alphabet/character01/0001_01.png), in sorted order."""
    pattern = re.compile(rf"{archive.name}/([^/]+/character\d+)/\d+_\d+\.png")
    matches = [match for path in sorted(paths) if (match := pattern.fullmatch(path))]
    names = tuple(match.group() for match in matches)
    images = ImageSet.from_classes([match.group(1) for match in matches], names, reader(names))
    alphabets = sorted({name.split("/")[0] for name in images.class_names})
    if len(images) != archive.num_images or alphabets != sorted(archive.alphabets):
        raise DataError(
            f"{where}: found {len(images)} images of {', '.join(alphabets) or 'no alphabet'} in {archive.name}, "
            f"expected {archive.num_images} of {', '.join(archive.alphabets)}"
        )
    return images


OMNIGLOT = DataSet(
    name="omniglot",
    title="Omniglot, the two small subsets",
    task="characters",
    load=omniglot,
    counts=role_counts((2_720, 136), (2_120, 106)),
    source="https://github.com/brendenlake/omniglot",
    licence="MIT",
    layout="ROOT/ or ROOT/python/; downloaded if there is no ROOT\n"
    "  images_background_small1.zip   or the folder of this name, unpacked\n"
    "  images_background_small2.zip",
    needs_path=False,
)
