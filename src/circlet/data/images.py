"""The split contract: labelled images in train, query and gallery roles.

An `ImageSet` holds labels and names; pixels come from its `read`, one image at a time, so that a set of a million files
costs a list of names. `Splits` puts sets into roles and checks that the test classes are unseen in training.
This file does not find, fetch or decode images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from circlet.data.groups import joined_classes, two_classes_of_a_group
from circlet.data.lookalikes import lookalikes
from circlet.data.notes import cut, shown, some
from circlet.data.readers import Chosen, Reader
from circlet.data.readers import FileReader as FileReader
from circlet.terminal import storable

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_OPTIONAL = ("cameras", "groups", "times", "categories")  # the fields of an ImageSet that may be None, in their order
_LARGEST = np.iinfo(np.int64).max
JUNK = -1  # the id, and as "-1" the class name, of gallery images that no protocol of re-identification ranks
NO_CLASS = "."  # the class name of what lies in no folder of its own, and of what has no label


class DataError(ValueError):
    """Data that cannot be used; the message names the file, what was found and what was expected."""


class SeenClassError(DataError):
    """A class of the test that is trained on; `image` is the name of its first image in the test."""

    def __init__(self, message: str, image: str) -> None:
        super().__init__(message)
        self.image = image


class JoinedClassesError(DataError):
    """Groups join so many classes that none can be held out; `image` is the name of an image of such a group."""

    def __init__(self, message: str, image: str) -> None:
        super().__init__(message)
        self.image = image


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with a label each, and optionally a camera, a group, a time and a category each.

    >>> images = ImageSet.from_classes(["cat", "ant", "cat"], ["1.png", "2.png", "3.png"], FileReader("photos", ()))
    >>> images.class_names, images.labels.tolist()
    (('ant', 'cat'), [1, 0, 1])
    >>> images.subset([0, 2]).class_names
    ('cat',)

    `labels` (N,) int64 are dense, 0..num_classes-1, and `class_names[label]` names the class. `names` (N,) identify
    the images (path below the root, archive member, ...) and appear in error messages. `read(i)` returns image i and
    must be picklable, for loader workers that are spawned. A set may be empty. The others are (N,) or None:

    - `cameras` int64: what took the image.
    - `groups` int64: images that must stay together (one encounter, one burst, one scanned sheet): splits never cut a
      group, and for a query its own group is no fair match. Numbers count for all sets of one `Splits`.
    - `times` float64: when it was taken, in seconds since 1970 (UTC).
    - `categories` int64: of what kind the class is; all images of a class are of one.
    """

    labels: Ints
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    read: Reader
    cameras: Ints | None = None
    groups: Ints | None = None
    times: Floats | None = None
    categories: Ints | None = None

    def __post_init__(self) -> None:
        for field in ("labels", *_OPTIONAL):
            value = getattr(self, field)
            if value is None and field != "labels":
                continue
            value = np.asarray(value)
            kinds, kind = ("iuf", "numbers") if field == "times" else ("iu", "integers")
            if value.shape != (len(self.names),) or (value.size and value.dtype.kind not in kinds):
                raise DataError(f"{field}: found {value.dtype} {value.shape}, expected {kind} ({len(self.names)},)")
            if value.dtype == np.uint64 and value.size and value.max() > _LARGEST:
                raise DataError(f"{field}: found {value.max()}, expected integers up to {_LARGEST}")
            object.__setattr__(self, field, value.astype(np.float64 if field == "times" else np.int64))
        if self.times is not None and not np.isfinite(self.times).all():
            raise DataError(f"times: found {self.times[~np.isfinite(self.times)][0]}, expected finite seconds")
        present = np.unique(self.labels)
        if not np.array_equal(present, np.arange(self.num_classes)):
            found = f"{present.size} values from {present.min()} to {present.max()}" if present.size else "none"
            raise DataError(f"labels: found {found}, expected all of 0..{self.num_classes - 1}, as in class_names")
        if len(set(self.class_names)) != self.num_classes:
            raise DataError(f"class_names: found only {len(set(self.class_names))} distinct of {self.num_classes}")
        if self.categories is not None:
            one = np.zeros(self.num_classes, dtype=np.int64)
            one[self.labels] = self.categories  # of any image of each class
            other = np.flatnonzero(one[self.labels] != self.categories)
            if other.size:
                name = self.class_names[self.labels[other[0]]]
                raise DataError(f"categories: found two for images of the class {name!r}, expected one for each class")

    @classmethod
    def from_classes(
        cls,
        classes: Sequence[str],
        names: Sequence[str],
        read: Reader,
        cameras: npt.ArrayLike | None = None,
        *,
        groups: npt.ArrayLike | None = None,
        times: npt.ArrayLike | None = None,
        categories: npt.ArrayLike | None = None,
    ) -> Self:
        """Make a set from the class name of every image; labels follow the sorted class names.

        Names that are not UTF-8 (file names may be any bytes) are kept as `storable` gives them; `read` has its own.
        """
        class_names = tuple(sorted(set(classes)))
        label_of = {name: label for label, name in enumerate(class_names)}
        labels = np.array([label_of[name] for name in classes], dtype=np.int64)
        given = (cameras, groups, times, categories)
        given_arrays = (None if x is None else np.asarray(x) for x in given)
        return cls(labels, tuple(map(storable, class_names)), tuple(map(storable, names)), read, *given_arrays)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_classes(self) -> int:
        """How many classes, each with at least one image."""
        return len(self.class_names)

    def ids(self) -> Ints:
        """Class names as numbers (N,), for protocols that give some a meaning.

        >>> ImageSet.from_classes(["0002", "-1", "0000"], ["b.jpg", "j.jpg", "d.jpg"], FileReader("market", ())).ids()
        array([ 2, -1,  0])

        In Market-1501 -1 is junk and 0 a distractor. A class name that is no whole number of 64 bits is a DataError.
        """
        try:
            return np.array([int(name) for name in self.class_names], dtype=np.int64)[self.labels]
        except ValueError as error:
            raise DataError(f"class_names: found {str(error).split(': ')[-1]}, expected whole numbers") from error
        except OverflowError as error:
            largest = max(self.class_names, key=lambda name: abs(int(name)))
            raise DataError(f"class_names: found {largest!r}, expected whole numbers up to {_LARGEST}") from error

    def is_junk(self) -> Bools:
        """Which images (N,) have the class "-1": junk in the galleries of re-identification."""
        return np.array([name == str(JUNK) for name in self.class_names], dtype=np.bool_)[self.labels]

    def subset(self, indices: npt.ArrayLike) -> Self:
        """Keep the images at `indices` (M,), in that order; labels become dense again, absent classes go.

        A repeated index repeats the image. No index gives an empty set; a negative one, or one past the end, is a
        ValueError.
        """
        chosen = np.asarray(indices)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise ValueError(f"indices: found {chosen.dtype} {chosen.shape}, expected integers (M,)")
        chosen = chosen.astype(np.int64)
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(self)):
            raise ValueError(f"indices: found {chosen.min()}..{chosen.max()}, expected 0..{len(self) - 1}")
        present, labels = np.unique(self.labels[chosen], return_inverse=True)
        return type(self)(
            labels,
            tuple(self.class_names[label] for label in present),
            tuple(self.names[index] for index in chosen),
            Chosen.of(self.read, chosen),
            *(None if value is None else value[chosen] for value in (getattr(self, field) for field in _OPTIONAL)),
        )

    def of_classes(self, chosen: Bools) -> "ImageSet":
        """The images of some classes, `chosen` (num_classes,), in their order."""
        return self.subset(np.flatnonzero(chosen[self.labels]))


@dataclass(frozen=True, eq=False)
class Splits:
    """What to train on and what to test on.

    Every query searches `gallery`; where that is None, it searches all the other queries. Unseen classes are the point:
    a class name that is both in train and in query or gallery is a DataError, unless `closed_set` says that this is
    meant. So are two class names, in any of them, that differ by blanks or Unicode's normal form alone.
    """

    train: ImageSet
    query: ImageSet
    gallery: ImageSet | None = None
    closed_set: bool = False

    def __post_init__(self) -> None:
        for role in ("train", "query", "gallery"):
            images = getattr(self, role)
            if not isinstance(images, ImageSet | None) or (images is None and role != "gallery"):
                raise DataError(f"{role}: found {type(images).__name__}, expected an ImageSet")
            if images is not None and not len(images):
                raise DataError(f"{role}: found no image, expected at least one")
        sets = [images for images in (self.train, self.query, self.gallery) if images is not None]
        alike = lookalikes(dict.fromkeys(name for images in sets for name in images.class_names))
        if alike is not None:
            first, other = (ascii(cut(name)) for name in alike)  # tells normal forms apart
            raise DataError(f"class_names: found {first} and {other}, which differ by blanks or by what does not show, "
                            "expected one name for each class")  # fmt: skip
        if not self.closed_set:
            for role, images in (("query", self.query), ("gallery", self.gallery)):
                if images is not None:
                    self._require_unseen(role, images)

    def _require_unseen(self, role: str, images: ImageSet) -> None:
        seen = set(self.train.class_names)
        shared = [name for name in images.class_names if name in seen]
        if shared:
            listed = some([shown(name) for name in shared], 10)
            first, trained = (
                part.names[np.flatnonzero(part.labels == part.class_names.index(shared[0]))[0]]
                for part in (images, self.train)
            )
            raise SeenClassError(
                f"{role}: found {len(shared)} of its {images.num_classes} classes in train too ({listed}; "
                f"{cut(first)} has the class of {cut(trained)}), expected unseen classes; closed_set=True allows seen "
                "ones",
                first,
            )

    def matching_labels(self) -> tuple[Ints, Ints]:
        """Labels of query (Q,) and gallery (G,) that are equal where the class names are.

        The labels of each set count its own classes, so they cannot be compared across sets as they are. Query labels
        stay as they are; classes of the gallery alone follow behind. Without a gallery, both are the query's.
        """
        if self.gallery is None:
            return self.query.labels, self.query.labels
        label_of = {name: label for label, name in enumerate(self.query.class_names)}
        translate = np.array([label_of.setdefault(name, len(label_of)) for name in self.gallery.class_names])
        return self.query.labels, translate[self.gallery.labels]


def hold_out_classes(images: ImageSet, held_out: float, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Split a set by classes into (the rest, the held-out classes): for validation on classes unseen in training.

    `held_out` below 1 is the fraction of the classes, from 1 on their number; at least one class stays on either side.
    Images keep their order. One seed always draws the same classes. Classes that share a group, directly or through
    others, stay together: then as many are held out as come near to the number without going beyond it, or else the
    fewest possible. Where groups join all classes, it is a `JoinedClassesError`.
    """
    if not held_out > 0 or (held_out >= 1 and held_out % 1):
        raise ValueError(f"held_out: found {held_out}, expected a fraction in (0, 1) or a whole number of classes")
    num_held_out = int(held_out) if held_out >= 1 else max(1, round(held_out * images.num_classes))
    if held_out < 1:
        num_held_out = min(num_held_out, images.num_classes - 1)
    if not 1 <= num_held_out < images.num_classes:
        raise DataError(
            f"held_out: found {held_out} for {images.num_classes} classes, expected at least one class on either side"
        )
    part_of = class_parts(images)
    sizes = np.bincount(part_of, minlength=images.num_classes)
    order = np.random.default_rng(seed).permutation(images.num_classes)
    out: list[int] = []
    left = num_held_out
    for part in dict.fromkeys(part_of[order].tolist()):
        if sizes[part] <= left:
            out.append(part)
            left -= sizes[part]
    is_out = np.isin(part_of, out or [min(part_of.tolist(), key=lambda part: sizes[part])])
    return images.of_classes(~is_out), images.of_classes(is_out)


def class_parts(images: ImageSet, least: int = 2) -> Ints:
    """Which part each class (num_classes,) belongs to: classes of one part share groups, so that none may be cut off.

    Without groups, each class is its own. Fewer parts than `least` are a `JoinedClassesError`.
    """
    if images.groups is None:
        return np.arange(images.num_classes)
    parts = joined_classes(images.labels, images.groups, images.num_classes)
    num_parts = len(np.unique(parts))
    if num_parts < min(least, images.num_classes):
        first, second = two_classes_of_a_group(images.labels, images.groups)
        classes = " and ".join(repr(images.class_names[images.labels[index]]) for index in (first, second))
        raise JoinedClassesError(
            f"groups: found {images.num_classes} classes that shared groups join to {num_parts} (as {classes} by "
            f"{images.names[first]} and {images.names[second]}), expected at least {least}, since a group is never cut",
            images.names[second],
        )
    return parts


def split_classes(images: ImageSet, held_out: float = 0.5, seed: int = 0) -> Splits:
    """Train on some classes and test on the others, for data that come without a split; see `hold_out_classes`."""
    return Splits(*hold_out_classes(images, held_out, seed))
