"""What lies on both sides of a split and makes its test easier than it looks: groups, and copies of one file.

Groups and files are compared exactly. Pictures that are only alike are not found here, and nothing is left out: what is
settled when a set is opened is in `circlet.data.copies`.
"""

import numpy as np

from circlet.data.images import ImageSet, Ints, Splits
from circlet.data.pictures import pictures

_SHOWN = 3


def straddling(splits: Splits, *, files: bool = True) -> list[str]:
    """A sentence for each kind of thing that is in train and also in query or gallery; an empty list if there is none.

    >>> from circlet.data import FileReader
    >>> def images(label, name):
    ...     return ImageSet.from_classes([label], [name], FileReader("photos", (name,)), groups=[4])
    >>> straddling(Splits(images("ant", "1.jpg"), images("bee", "2.jpg")))
    ['1 group is in train and in query, expected all images of a group on one side: 1.jpg and 2.jpg.']

    Groups by their numbers. Files by their bytes, whatever box is cut out of them (`circlet.data.pictures`), unless
    `files` is false. Images that are no files of their own (archives, drawn characters) are passed over, as are missing
    files.
    """
    sentences = []
    for role, images in _tests(splits).items():
        pairs = _shared_groups(splits.train, images)
        if pairs:
            many = f"{len(pairs)} groups are" if len(pairs) > 1 else "1 group is"
            sentences.append(f"{many} in train and in {role}, expected all images of a group on one side: "
                             f"{_listed(splits.train, images, pairs)}.")  # fmt: skip
    if files:
        sentences += straddling_files(splits, pictures(splits.train, *_tests(splits).values()).whole)
    return sentences


def straddling_files(splits: Splits, whole: Ints) -> list[str]:
    """The sentences of `straddling` on files, of which `circlet.data.pictures` said which are equal.

    whole: (N,) its numbers of the images of train, query and gallery, one after the other.
    """
    sentences = []
    trained, end = whole[: len(splits.train)], len(splits.train)
    for role, images in _tests(splits).items():
        begin, end = end, end + len(images)
        _, first, second = np.intersect1d(trained, whole[begin:end], return_indices=True)
        pairs = sorted(zip(first.tolist(), second.tolist(), strict=True))
        if pairs:
            many = f"{len(pairs)} files are" if len(pairs) > 1 else "1 file is"
            sentences.append(f"{many} in train and, byte for byte, in {role}: {_listed(splits.train, images, pairs)}.")
    return sentences


def _tests(splits: Splits) -> dict[str, ImageSet]:
    """What is tested on, by role."""
    return {"query": splits.query} | ({} if splits.gallery is None else {"gallery": splits.gallery})


def _shared_groups(one: ImageSet, other: ImageSet) -> list[tuple[int, int]]:
    """The first image on either side, for each group that is on both."""
    if one.groups is None or other.groups is None:
        return []
    _, first, second = np.intersect1d(one.groups, other.groups, return_indices=True)
    return sorted(zip(first.tolist(), second.tolist(), strict=True))


def _listed(one: ImageSet, other: ImageSet, pairs: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{one.names[first]} and {other.names[second]}" for first, second in pairs[:_SHOWN])
    return shown + (f", and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")
