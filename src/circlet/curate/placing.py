"""A new folder of links to images, or of copies of them, under names that lead nowhere else.

The folder is made under another name beside its place, `.NAME.making-...`, and moved there once it is whole.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from circlet.curate.clusters import Clusters
from circlet.data.images import DataError, ImageSet
from circlet.data.readers import file_of, part_of

_LONGEST = 120  # characters of one part of a path
_KEPT = frozenset(" -_.,()+=@")


def place_images(
    images: ImageSet, indices: Sequence[int], places: Sequence[tuple[str, ...]], folder: Path, *, copy: bool = False
) -> None:
    """Make `folder` with a link (or copy) for each image of `indices`, at its place: folders, then the file.

    Two images of one place get numbers. FileExistsError where something is there already, DataError for images that
    are no whole files; then nothing is left.
    """
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder}: found something there, expected nothing")
    files = [_file(images, index) for index in indices]
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.making-", dir=folder.parent))
    try:
        taken: set[str] = set()
        for file, place in zip(files, places, strict=True):
            parts = [safe_name(part) for part in place]
            target = making.joinpath(*parts[:-1], _free(parts, taken))
            target.parent.mkdir(parents=True, exist_ok=True)
            if copy:
                shutil.copyfile(file, target)
            else:
                target.symlink_to(os.path.realpath(file))
        making.chmod(0o777 & ~_umask())
        making.rename(folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def by_own_name(images: ImageSet, indices: Sequence[int]) -> list[tuple[str, ...]]:
    """Places as the images are named, folder by folder."""
    return [tuple(part for part in images.names[index].split("/") if part) for index in indices]


def by_cluster(images: ImageSet, found: Clusters) -> list[tuple[str, ...]]:
    """Places in a folder for each cluster, numbered from 1, or in "none"; the whole name is in that of the file."""
    width = len(str(max(found.number, 1)))
    folders = [f"{number + 1:0{width}}" if number >= 0 else "none" for number in found.cluster.tolist()]
    return [(folder, name.replace("/", "__")) for folder, name in zip(folders, images.names, strict=True)]


def safe_name(text: str) -> str:
    r"""`text` as one part of a path, on any system: letters, digits and few signs; the end of a long name is kept.

    >>> safe_name("a/b:c"), safe_name(".."), safe_name("\x1b[2J.jpg"), safe_name("Äpfel 1.jpg")
    ('a_b_c', '_.', '_[2J.jpg', 'Äpfel 1.jpg')
    """
    safe = "".join(sign if sign.isalnum() or sign in _KEPT or sign in "[]" else "_" for sign in text)
    if safe.startswith("."):
        safe = f"_{safe[1:]}"
    if len(safe.encode()) > _LONGEST:
        digest = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=4).hexdigest()
        end = safe.encode()[-_LONGEST + 9 :].decode(errors="ignore")
        safe = f"{digest}_{end}"
    return safe.rstrip(" ") or "_"


def _free(parts: list[str], taken: set[str]) -> str:
    """The name of the file, numbered if its place is taken; without regard to case."""
    stem, dot, suffix = parts[-1].rpartition(".")
    stem, end = (stem, f"{dot}{suffix}") if stem else (parts[-1], "")
    number, name = 1, parts[-1]
    while (key := "/".join([*parts[:-1], name]).casefold()) in taken:
        number += 1
        name = f"{stem}-{number}{end}"
    taken.add(key)
    return name


def _file(images: ImageSet, index: int) -> str:
    file = file_of(images.read, index)
    if file is None or part_of(images.read, index) != b"":
        raise DataError(f"{images.names[index]}: found an image that is no whole file, expected files to link or copy")
    return file


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
