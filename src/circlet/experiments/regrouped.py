"""Images found on the disk, put into the roles that they had in a run; what is missing or new is told.

Which lists a run keeps, and where, is not here (`remembered`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from circlet.data.images import DataError, ImageSet, Ints, Splits
from circlet.data.pictures import pictures
from circlet.data.readers import Chosen, Reader, content_of, file_of, part_of
from circlet.data.streams import StreamSet
from circlet.distributed import is_rank_0
from circlet.terminal import say

if TYPE_CHECKING:
    from PIL.Image import Image

_SHOWN = 3
Key = tuple[str, str]
"""Class name and image name."""


class Listed(NamedTuple):
    """The names of an `ImageSet`: those of its classes in label order, and label and name of each image."""

    class_names: tuple[str, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, images: ImageSet) -> "Listed":
        """The names of a set; of one that is streamed, for each class what its images are told by."""
        if isinstance(images, StreamSet):
            return cls(images.class_names, tuple(range(images.num_classes)), tuple(images.class_digests()))
        return cls(images.class_names, tuple(images.labels.tolist()), images.names)

    def pairs(self) -> list[Key]:
        """Class and name of each image."""
        return [(self.class_names[label], name) for label, name in zip(self.labels, self.names, strict=True)]


def in_roles(path: Path, kept: Mapping[str, Listed], found: Splits, *, closed_set: bool, to_train: bool) -> Splits:
    """The images of `found`, whatever their roles there, in those of `kept`.

    path: where `kept` was read, for messages. kept: by role: train, query and perhaps gallery. to_train, and what
    `train` is without it: see `remembered.splits_of`.

    DataError where images are missing, and with to_train also where there are more in the training classes. Classes
    that are new, and new images of test classes, are named on standard error and left out. A copy of another image is
    not new: the run has left it out from the beginning, or would have.
    """
    sets = {"train": found.train, "query": found.query, "gallery": found.gallery}
    there = {role: images for role, images in sets.items() if images is not None}
    if kept == {role: Listed.of(images) for role, images in there.items()} and found.closed_set == closed_set:
        return found
    disk = _Disk(there)
    picks = {role: disk.pick(role, listed.pairs()) for role, listed in kept.items()}
    known = {key for listed in kept.values() for key in listed.pairs()}
    new = sorted({name for name, _ in disk.places} - {name for name, _ in known})
    for title, roles in (("training", ["train"]), ("test", ["query", "gallery"])):
        own = [role for role in roles if role in kept]
        missing = [key for role in own for key in picks[role].missing]
        classes = {name for role in own for name in kept[role].class_names}
        added = disk.without_copies([key for key in disk.places if key[0] in classes and key not in known])
        strict = to_train and title == "training"
        if (missing and (to_train or title == "test")) or (added and strict):
            total = sum(len(kept[role].names) for role in own)
            differences = "; ".join(_differences(missing, added, set(new), disk))
            if len(missing) == total:
                differences = (f"none of them is there: {differences} (images given in Python, as data=, have to be "
                               "given again)")  # fmt: skip
            raise DataError(f"{path}: found other {title} images than the run began with: {differences}. Expected its "
                            f"own {total} images of {len(classes)} classes: put them back as they were, or start a new "
                            "run")  # fmt: skip
        if added and title == "test":
            _warn(f"{path}: {_many(added, 'image is', 'images are')} new in the test classes, and left out: "
                  f"{_shown([name for _, name in added])}")  # fmt: skip
    if new:
        _warn(f"{path}: {_many(new, 'class is', 'classes are')} new since the run began, and left out: {_shown(new)}")
    sets = {role: disk.images(picks[role], kept[role]) for role in kept if role != "train" or to_train}
    query, gallery = sets["query"], sets.get("gallery")
    train = sets["train"] if to_train else query
    assert train is not None
    assert query is not None
    return Splits(train, query, gallery, closed_set or not to_train)


class _Pick(NamedTuple):
    """Where images are: the number of the set and the row in it, of each that is there."""

    places: list[tuple[int, int]]
    missing: list[Key]


class _Disk:
    """All images that were found, by class and name."""

    def __init__(self, sets: Mapping[str, ImageSet]) -> None:
        self.roles, self.sets = list(sets), list(sets.values())
        self.places: dict[Key, list[tuple[int, int]]] = {}
        for number, images in enumerate(self.sets):
            for row, key in enumerate(Listed.of(images).pairs()):
                self.places.setdefault(key, []).append((number, row))

    def pick(self, role: str, keys: Sequence[Key]) -> _Pick:
        """Each image, rather from the role that it had; the second of a name is the second of that name there."""
        own = self.roles.index(role) if role in self.roles else -1
        taken: dict[Key, int] = {}
        places, missing = [], []
        for key in keys:
            candidates, number = self.places.get(key, []), taken.get(key, 0)
            if len(candidates) > 1:
                candidates = sorted(candidates, key=lambda place: place[0] != own)
            if number < len(candidates):
                places.append(candidates[number])
            else:
                missing.append(key)
            taken[key] = number + 1
        return _Pick(places, missing)

    def without_copies(self, keys: Sequence[Key]) -> list[Key]:
        """Those but for what a run leaves out when it begins (`circlet.data.copies`): equal files, under any label."""
        if not keys or any(isinstance(images, StreamSet) for images in self.sets):
            return list(keys)
        starts = np.cumsum([0, *map(len, self.sets)])
        content = pictures(*self.sets).content
        equal: dict[int, list[tuple[Key, int, int]]] = {}
        for key, places in self.places.items():
            for number, row in places:
                equal.setdefault(int(content[starts[number] + row]), []).append((key, number, row))

        def is_copy(key: Key, number: int, row: int) -> bool:
            others = equal[int(content[starts[number] + row])]
            return any(it != (key, number, row) and (it[1] == number or it[0][0] != key[0]) for it in others)

        return [key for key in keys if not all(is_copy(key, *place) for place in self.places[key])]

    def images(self, pick: _Pick, listed: Listed) -> ImageSet:
        """The images of a pick that misses none, with the labels that they had."""
        which, rows = np.array(pick.places, dtype=np.int64).T
        used = np.unique(which).tolist()
        fields = {name: self._field(name, which, rows, used) for name in ("cameras", "groups", "times", "categories")}
        read: Reader
        if len(used) == 1:
            read = Chosen.of(self.sets[used[0]].read, rows)
        else:
            read = OfSeveral(tuple(images.read for images in self.sets), which, rows)
        return ImageSet(np.array(listed.labels, dtype=np.int64), listed.class_names, listed.names, read, **fields)

    def _field(self, name: str, which: Ints, rows: Ints, used: Collection[int]) -> Any:
        values = {number: getattr(self.sets[number], name) for number in used}
        if any(value is None for value in values.values()):
            return None
        out = np.empty(len(rows), dtype=next(iter(values.values())).dtype)
        for number, value in values.items():
            out[which == number] = value[rows[which == number]]
        return out


@dataclass(frozen=True, eq=False)
class OfSeveral:
    """Reader of images of several sets: image i is image `rows[i]` of the reader `reads[which[i]]`."""

    reads: tuple[Reader, ...]
    which: Ints
    rows: Ints

    def __call__(self, index: int) -> "Image":
        """Return image `index`."""
        image: Image = self.reads[self.which[index]](int(self.rows[index]))
        return image

    def file(self, index: int) -> str | None:
        """The path of image `index`, if its reader knows it."""
        return file_of(self.reads[self.which[index]], int(self.rows[index]))

    def part(self, index: int) -> bytes | None:
        """Which part of its file image `index` is, if its reader says."""
        return part_of(self.reads[self.which[index]], int(self.rows[index]))

    def content(self, index: int) -> bytes | None:
        """The bytes of image `index`, if its reader gives them."""
        return content_of(self.reads[self.which[index]], int(self.rows[index]))


def _differences(missing: Sequence[Key], added: Sequence[Key], new: Collection[str], disk: _Disk) -> list[str]:
    """In words: classes that are gone, or seem to have another name; images that are gone, or new."""
    there = {name for name, _ in disk.places}
    new_of = {files: name for name, files in _files(key for key in disk.places if key[0] in new).items()}
    gone = _files(key for key in missing if key[0] not in there)
    renamed = {name: new_of[files] for name, files in gone.items() if files in new_of}
    left = [name for name in gone if name not in renamed]
    images = [name for class_name, name in missing if class_name in there]
    told = []
    if renamed:
        pairs = [f"{old!r} to {name!r}" for old, name in renamed.items()]
        told.append(f"{_many(pairs, 'class seems', 'classes seem')} to be renamed ({_shown(pairs, quoted=True)})")
    if left:
        told.append(f"{_many(left, 'class is', 'classes are')} missing ({_shown(left)})")
    if images:
        told.append(f"{_many(images, 'image is', 'images are')} missing ({_shown(images)})")
    if added:
        told.append(f"{_many(added, 'image is', 'images are')} new ({_shown([name for _, name in added])})")
    return told


def _files(keys: Iterable[Key]) -> dict[str, tuple[str, ...]]:
    """By class the names of its images without their folders, which a renamed class still has."""
    found: dict[str, list[str]] = {}
    for class_name, name in keys:
        found.setdefault(class_name, []).append(name.rpartition("/")[2])
    return {class_name: tuple(sorted(names)) for class_name, names in found.items()}


def _many(things: Sequence[Any], one: str, several: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else several}"


def _shown(names: Sequence[str], *, quoted: bool = False) -> str:
    first = ", ".join(name if quoted else repr(name) for name in names[:_SHOWN])
    return first + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _warn(sentence: str) -> None:
    if is_rank_0():
        say(f"warning: {sentence}")
