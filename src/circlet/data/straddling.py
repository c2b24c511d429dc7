"""What lies on both sides of a split and makes its test easier than it looks: groups, and copies of one file.

Groups and files are compared exactly. Pictures that are only alike are not found here, and nothing is left out: what is
settled when a set is opened is in `circlet.data.copies`.
"""

import numpy as np

from circlet.data.images import ImageSet, Splits
from circlet.data.pictures import Files
from circlet.data.readers import file_of

_SHOWN = 3


def straddling(splits: Splits) -> list[str]:
    """A sentence for each kind of thing that is in train and also in query or gallery; an empty list if there is none.

    >>> from circlet.data import FileReader
    >>> def images(label, name):
    ...     return ImageSet.from_classes([label], [name], FileReader("photos", (name,)), groups=[4])
    >>> straddling(Splits(images("ant", "1.jpg"), images("bee", "2.jpg")))
    ['1 group is in train and in query, expected all images of a group on one side: 1.jpg and 2.jpg.']

    Groups by their numbers. Files by their bytes, whatever box is cut out of them (`circlet.data.pictures`). Images
    that are no files of their own (archives, drawn characters) are passed over, as are missing files.
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
    files = Files()
    numbers, others = ([files.number(file_of(part.read, i)) for i in range(len(part))] for part in (one, other))
    first_of_equals = files.first_of_equals()
    first, second = (_first_images(found, first_of_equals) for found in (numbers, others))
    return sorted((first[file], second[file]) for file in first.keys() & second.keys())


def _first_images(numbers: list[int | None], first_of_equals: list[int]) -> dict[int, int]:
    """The first image of each file, equal files being one."""
    found: dict[int, int] = {}
    for index, number in enumerate(numbers):
        if number is not None:
            found.setdefault(first_of_equals[number], index)
    return found


def _listed(one: ImageSet, other: ImageSet, pairs: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{one.names[first]} and {other.names[second]}" for first, second in pairs[:_SHOWN])
    return shown + (f", and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")
