"""One picture in several places of a data set, settled when it is opened, so that no copy is found by its copy.

What contradicts itself is an error, what is there twice is taken once, and a query does not find its own file in the
gallery. Published sets are tested as they were published, copies and all: this is for your own (`circlet.experiments`
asks for it). Which images are one picture is in `circlet.data.pictures`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from circlet.data.groups import joined_classes
from circlet.data.images import Bools, DataError, ImageSet, Ints, Splits
from circlet.data.notes import say_once, some
from circlet.data.pictures import Pictures, pictures
from circlet.data.straddling import straddling_files

_SHOWN = 3


def settled(
    splits: Splits, place: Callable[[str], str] = str, *, on_error: Literal["raise", "skip"] = "raise"
) -> Splits:
    """The splits with every picture once in each role, with one label.

    >>> from circlet.data import FileReader
    >>> def images(label, *names):
    ...     return ImageSet.from_classes([label] * len(names), names, FileReader("photos", names))
    >>> settled(Splits(images("ant", "1.jpg", "2.jpg"), images("bee", "3.jpg"))).train.names
    ('1.jpg', '2.jpg')

    (Files that are not there equal no others.) place: what messages call an image, by its name.

    - One picture under two labels, or two cameras, is a DataError that names both; with on_error "skip" all images of
      it are left out.
    - One file in train and in the test is a DataError; equal files of other names, and parts of one, are told of.
    - A picture that a role has several times is taken the first time.
    - A picture in query and gallery: the two are of one group, so that the query passes over it (`retrieval`).

    What is left out or passed over is told in a sentence on standard error. Where `train` is the very set `query`,
    nothing is trained on.
    """
    sets = {"train": splits.train, "query": splits.query, "gallery": splits.gallery}
    roles = {role: images for role, images in sets.items() if images is not None}
    if splits.train is splits.query:
        del roles["train"]
    every = _Every(roles, pictures(*roles.values()), place)
    if not _has_equals(every.pictures.whole):
        return splits
    kept = every.without_contradictions(on_error)
    every.require_apart(kept)
    kept &= every.first_in_role(kept)
    parts = dict(zip(roles, every.parts(kept), strict=True))
    query, gallery = parts["query"], parts.get("gallery")
    if gallery is not None:
        query, gallery = every.grouped(query, gallery, kept)
    found = Splits(parts.get("train", query), query, gallery, splits.closed_set)
    if "train" in roles:
        for sentence in straddling_files(found, every.pictures.whole[kept]):
            say_once(f"warning: {sentence}")
    return found


class _Every:
    """The images of all roles, one after the other: (N,) arrays."""

    def __init__(self, roles: dict[str, ImageSet], found: Pictures, place: Callable[[str], str]) -> None:
        self.roles, self.pictures, self.place = roles, found, place
        sets = list(roles.values())
        self.names = [name for images in sets for name in images.names]
        number_of: dict[str, int] = {}
        ids = [np.array([number_of.setdefault(n, len(number_of)) for n in images.class_names]) for images in sets]
        self.class_names = list(number_of)
        self.labels = np.concatenate([own[images.labels] for own, images in zip(ids, sets, strict=True)])
        known = [images.cameras for images in sets if images.cameras is not None]
        self.cameras = np.concatenate([np.zeros(0, np.int64), *known])
        self.role = np.repeat(np.arange(len(sets)), [len(images) for images in sets])
        self._first = _first_of(found.content)

    def without_contradictions(self, on_error: str) -> Bools:
        """Which images (N,) are kept: those whose picture has one label and one camera."""
        contradicted = np.zeros(len(self.names), dtype=np.bool_)
        for what, values in (("labels", self.labels), ("cameras", self.cameras)):
            if len(values) < len(self.names):  # no cameras
                continue
            other = np.flatnonzero(values != values[self._first])
            if not other.size:
                continue
            if on_error == "raise":
                one, two = int(self._first[other[0]]), int(other[0])
                raise DataError(self._contradiction(what, one, two, len(np.unique(self._first[other]))))
            contradicted |= np.isin(self._first, self._first[other])
        if contradicted.any():
            listed = self._listed(np.flatnonzero(contradicted))
            say_once(f"warning: {_many(int(contradicted.sum()), 'image')} left out, of pictures that are under two "
                     f"labels or cameras: {listed}")  # fmt: skip
        return ~contradicted

    def _contradiction(self, what: str, one: int, two: int, count: int) -> str:
        under = "two cameras"  # their names are those of the table
        if what == "labels":
            under = "the labels " + " and ".join(repr(self.class_names[self.labels[i]]) for i in (one, two))
        places = [self.place(self.names[i]) for i in (one, two)]
        same = "one file" if self.pictures.file[one] == self.pictures.file[two] else "the same picture, byte for byte,"
        more = f" ({count} such pictures in all)" if count > 1 else ""
        return (f"{places[0]} and {places[1]}: found {same} under {under}{more}, expected one of them "
                '(--data.on-error skip leaves such pictures out, on_error="skip" in Python)')  # fmt: skip

    def require_apart(self, kept: Bools) -> None:
        """DataError where one file is in train and in query or gallery."""
        if "train" not in self.roles:
            return
        in_train = kept & (self.role == list(self.roles).index("train"))
        both = np.flatnonzero(kept & ~in_train & np.isin(self.pictures.file, self.pictures.file[in_train]))
        if both.size:
            two = int(both[0])
            one = int(np.flatnonzero(in_train & (self.pictures.file == self.pictures.file[two]))[0])
            role = list(self.roles)[self.role[two]]
            raise DataError(f"{self.place(self.names[one])} and {self.place(self.names[two])}: found one file in train "
                            f"and in {role} ({len(both)} such images in all), expected other images in the test than "
                            "in the training")  # fmt: skip

    def first_in_role(self, kept: Bools) -> Bools:
        """Which images (N,) are not there before, in their role."""
        pairs = np.stack([self.pictures.content, self.role], axis=1)
        _, inverse = np.unique(pairs, axis=0, return_inverse=True)
        same = _first_of(inverse.reshape(-1).astype(np.int64))
        first: Bools = same == np.arange(len(self.names))
        again = np.flatnonzero(kept & ~first)
        if again.size:
            listed = self._listed(again, same[again])
            say_once(f"warning: {_many(len(again), 'image')} left out, which the same role has already, byte for byte: "
                     f"{listed}")  # fmt: skip
        return first

    def parts(self, kept: Bools) -> list[ImageSet]:
        """The images of each role that are kept."""
        found = []
        for number, (role, images) in enumerate(self.roles.items()):
            rows = np.flatnonzero(kept[self.role == number])
            if not rows.size:
                raise DataError(
                    f"{role}: found no image but pictures under two labels or cameras, expected at least one"
                )
            found.append(images if len(rows) == len(images) else images.subset(rows))
        return found

    def grouped(self, query: ImageSet, gallery: ImageSet, kept: Bools) -> tuple[ImageSet, ImageSet]:
        """Both, with a query and its picture in the gallery in one group."""
        roles = list(self.roles)
        contents = [self.pictures.content[kept & (self.role == roles.index(role))] for role in ("query", "gallery")]
        shared = np.flatnonzero(np.isin(contents[0], contents[1]))
        if not shared.size:
            return query, gallery
        listed = ", ".join(self.place(query.names[i]) for i in shared[:_SHOWN]) + (", ..." * (len(shared) > _SHOWN))
        say_once(f"warning: {_many(len(shared), 'query image')} in the gallery too, and left out of the own search: "
                 f"{listed}")  # fmt: skip
        groups = _own_groups([query, gallery], [images.groups for images in self.roles.values()])
        values, inverse = np.unique(groups, return_inverse=True)
        dense = inverse.reshape(-1).astype(np.int64)
        together = values[joined_classes(dense, np.concatenate(contents), len(values))][dense]
        of_query, of_gallery = np.split(together, [len(query)])
        return replace(query, groups=of_query), replace(gallery, groups=of_gallery)

    def _listed(self, rows: Ints, like: Ints | None = None) -> str:
        shown = [self.place(self.names[row]) for row in rows]
        if like is not None:
            shown = [f"{one} (as {self.place(self.names[row])})" for one, row in zip(shown, like, strict=True)]
        return some(shown)


def _has_equals(numbers: Ints) -> bool:
    return numbers.size > np.unique(numbers).size


def _first_of(numbers: Ints) -> Ints:
    """Where the number of each place stands first (N,)."""
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int64)


def _own_groups(sets: list[ImageSet], taken: list[Ints | None]) -> Ints:
    """The groups of the images of several sets; where a set has none, a new one for each image."""
    new = max((int(groups.max()) + 1 for groups in taken if groups is not None and groups.size), default=0)
    found: list[Ints] = []
    for images in sets:
        found.append(images.groups if images.groups is not None else new + np.arange(len(images), dtype=np.int64))
        new += len(images)
    return np.concatenate(found)


def _many(count: int, what: str) -> str:
    return f"{count} {what}s are" if count > 1 else f"1 {what} is"
