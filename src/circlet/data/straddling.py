"""What lies on both sides of a split and makes its test easier than it looks: groups, and copies of one file.

Groups and files are compared exactly. Pictures that are only alike are not found here.
"""

import os
from collections.abc import Iterable

import numpy as np

from circlet.data.content import file_digest
from circlet.data.images import ImageSet, Splits
from circlet.data.readers import file_of

_SHOWN = 3


def straddling(splits: Splits) -> list[str]:
    """A sentence for each kind of thing that is in train and also in query or gallery; an empty list if there is none.

    >>> from circlet.data import FileReader
    >>> def images(label, name):
    ...     return ImageSet.from_classes([label], [name], FileReader("photos", (name,)), groups=[4])
    >>> straddling(Splits(images("ant", "1.jpg"), images("bee", "2.jpg")))
    ['1 group is in train and in query, expected all images of a group on one side: 1.jpg and 2.jpg.']

    Groups by their numbers. Files by their bytes (BLAKE2), whatever box is cut out of them: only those of equal size
    are read. Images that are no files of their own (archives, drawn characters) are passed over, as are missing files.
    """
    sentences = []
    tests = {"query": splits.query} | ({} if splits.gallery is None else {"gallery": splits.gallery})
    for role, images in tests.items():
        pairs = _shared_groups(splits.train, images)
        if pairs:
            many = f"{len(pairs)} groups are" if len(pairs) > 1 else "1 group is"
            sentences.append(f"{many} in train and in {role}, expected all images of a group on one side: "
                             f"{_listed(splits.train, images, pairs)}.")  # fmt: skip
    for role, images in tests.items():
        pairs = _shared_files(splits.train, images)
        if pairs:
            many = f"{len(pairs)} files are" if len(pairs) > 1 else "1 file is"
            sentences.append(f"{many} in train and, byte for byte, in {role}: {_listed(splits.train, images, pairs)}.")
    return sentences


def _shared_groups(one: ImageSet, other: ImageSet) -> list[tuple[int, int]]:
    """The first image on either side, for each group that is on both."""
    if one.groups is None or other.groups is None:
        return []
    _, first, second = np.intersect1d(one.groups, other.groups, return_indices=True)
    return sorted(zip(first.tolist(), second.tolist(), strict=True))


def _shared_files(one: ImageSet, other: ImageSet) -> list[tuple[int, int]]:
    """The first image on either side, for each file that is on both."""
    sizes, other_sizes = _by_size(one), _by_size(other)
    pairs = []
    for size in sizes.keys() & other_sizes.keys():
        found = _by_digest(sizes[size].items())
        others = _by_digest(other_sizes[size].items())
        pairs += [(found[digest], others[digest]) for digest in found.keys() & others.keys()]
    return sorted(pairs)


def _by_size(images: ImageSet) -> dict[int, dict[str, int]]:
    """{bytes: {path: first image}} of the files that are there."""
    found: dict[int, dict[str, int]] = {}
    for index in range(len(images)):
        path = file_of(images.read, index)
        if path is None:
            continue
        try:
            size = os.path.getsize(path)
        except (OSError, ValueError):  # ValueError: a name with a zero byte
            continue
        if size:
            found.setdefault(size, {}).setdefault(path, index)
    return found


def _by_digest(files: Iterable[tuple[str, int]]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for path, index in files:
        try:
            found.setdefault(file_digest(path), index)
        except OSError:
            continue
    return found


def _listed(one: ImageSet, other: ImageSet, pairs: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{one.names[first]} and {other.names[second]}" for first, second in pairs[:_SHOWN])
    return shown + (f", and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")
