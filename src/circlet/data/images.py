"""The split contract: labelled images in train, query and gallery roles.

An `ImageSet` holds labels and names; pixels come from its `read`, one image at a time, so that a set of a million files
costs a list of names. `Splits` puts sets into roles and checks that the test classes are unseen in training.
This file does not find, fetch or decode images.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

JUNK = -1  # the id, and as "-1" the class name, of gallery images that no protocol of re-identification ranks


class DataError(ValueError):
    """Data that cannot be used; the message names the file, what was found and what was expected."""


class SeenClassError(DataError):
    """A class of the test that is trained on; `image` is the name of its first image in the test."""

    def __init__(self, message: str, image: str) -> None:
        super().__init__(message)
        self.image = image


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with a label each, and optionally a camera each.

    >>> images = ImageSet.from_classes(["cat", "ant", "cat"], ["1.png", "2.png", "3.png"], FileReader("photos", ()))
    >>> images.class_names, images.labels.tolist()
    (('ant', 'cat'), [1, 0, 1])
    >>> images.subset([0, 2]).class_names
    ('cat',)

    `labels` (N,) int64 are dense, 0..num_classes-1, and `class_names[label]` names the class. `names` (N,) identify
    the images (path below the root, archive member, ...) and appear in error messages. `read(i)` returns image i and
    must be picklable, for loader workers that are spawned. `cameras` (N,) int64 or None. A set may be empty.
    """

    labels: Ints
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    read: "Callable[[int], Image]"
    cameras: Ints | None = None

    def __post_init__(self) -> None:
        for field in ("labels", "cameras"):
            value = getattr(self, field)
            if value is None and field == "cameras":
                continue
            value = np.asarray(value)
            if value.shape != (len(self.names),) or (value.size and value.dtype.kind not in "iu"):
                raise DataError(f"{field}: found {value.dtype} {value.shape}, expected integers ({len(self.names)},)")
            object.__setattr__(self, field, value.astype(np.int64))
        present = np.unique(self.labels)
        if not np.array_equal(present, np.arange(self.num_classes)):
            found = f"{present.size} values from {present.min()} to {present.max()}" if present.size else "none"
            raise DataError(f"labels: found {found}, expected all of 0..{self.num_classes - 1}, as in class_names")
        if len(set(self.class_names)) != self.num_classes:
            raise DataError(f"class_names: found only {len(set(self.class_names))} distinct of {self.num_classes}")

    @classmethod
    def from_classes(
        cls,
        classes: Sequence[str],
        names: Sequence[str],
        read: "Callable[[int], Image]",
        cameras: npt.ArrayLike | None = None,
    ) -> Self:
        """Make a set from the class name of every image; labels follow the sorted class names."""
        class_names = tuple(sorted(set(classes)))
        label_of = {name: label for label, name in enumerate(class_names)}
        labels = np.array([label_of[name] for name in classes], dtype=np.int64)
        return cls(labels, class_names, tuple(names), read, None if cameras is None else np.asarray(cameras))

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

        In Market-1501 -1 is junk and 0 a distractor. A class name that is no whole number is a DataError.
        """
        try:
            return np.array([int(name) for name in self.class_names], dtype=np.int64)[self.labels]
        except ValueError as error:
            raise DataError(f"class_names: found {str(error).split(': ')[-1]}, expected whole numbers") from error

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
            _Chosen.of(self.read, chosen),
            None if self.cameras is None else self.cameras[chosen],
        )


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Reader of a subset: image i is image `indices[i]` of the reader below."""

    read: "Callable[[int], Image]"
    indices: Ints

    @classmethod
    def of(cls, read: "Callable[[int], Image]", indices: Ints) -> Self:
        """Choose from a reader; a subset of a subset stays one step from the pixels."""
        return cls(read.read, read.indices[indices]) if isinstance(read, _Chosen) else cls(read, indices)

    def __call__(self, index: int) -> "Image":
        return self.read(int(self.indices[index]))


@dataclass(frozen=True)
class FileReader:
    """Reader of image files: image i is the file `root`/`paths[i]`; an absolute path stands for itself."""

    root: str
    paths: tuple[str, ...]

    def __call__(self, index: int) -> "Image":
        """Return image `index`, not decoded yet: its file stays open until it is loaded or closed."""
        from PIL import Image

        return Image.open(os.path.join(self.root, self.paths[index]))


@dataclass(frozen=True, eq=False)
class Splits:
    """What to train on and what to test on.

    Every query searches `gallery`; where that is None, it searches all the other queries. Unseen classes are the point:
    a class name that is both in train and in query or gallery is a DataError, unless `closed_set` says that this is
    meant.
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
        if not self.closed_set:
            for role, images in (("query", self.query), ("gallery", self.gallery)):
                if images is not None:
                    self._require_unseen(role, images)

    def _require_unseen(self, role: str, images: ImageSet) -> None:
        seen = set(self.train.class_names)
        shared = [name for name in images.class_names if name in seen]
        if shared:
            listed = ", ".join(map(repr, shared[:10])) + (f" and {len(shared) - 10} more" if len(shared) > 10 else "")
            first, trained = (
                part.names[np.flatnonzero(part.labels == part.class_names.index(shared[0]))[0]]
                for part in (images, self.train)
            )
            raise SeenClassError(
                f"{role}: found {len(shared)} of its {images.num_classes} classes in train too ({listed}; {first} has "
                f"the class of {trained}), expected unseen classes; closed_set=True allows seen ones",
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
    Images keep their order. One seed always draws the same classes.
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
    order = np.random.default_rng(seed).permutation(images.num_classes)
    is_out = np.isin(images.labels, order[:num_held_out])
    return images.subset(np.flatnonzero(~is_out)), images.subset(np.flatnonzero(is_out))


def split_classes(images: ImageSet, held_out: float = 0.5, seed: int = 0) -> Splits:
    """Train on some classes and test on the others, for data that come without a split; see `hold_out_classes`."""
    return Splits(*hold_out_classes(images, held_out, seed))
