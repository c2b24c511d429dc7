"""Several sets one after the other as one set, such as the parts of a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from circlet.data.images import ImageSet
from circlet.data.readers import Reader, content_of, file_of, part_of, place_of

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Joined:
    """Reader of several sets: the images of each reader follow those of the one before. starts: where each begins."""

    readers: tuple[Reader, ...]
    starts: tuple[int, ...]

    def __call__(self, index: int) -> "Image":
        """Return image `index`."""
        read, own = self._at(index)
        return read(own)

    def file(self, index: int) -> str | None:
        """Its path, if its reader knows it."""
        return file_of(*self._at(index))

    def part(self, index: int) -> bytes | None:
        """Which part of its file it is, if its reader can tell."""
        return part_of(*self._at(index))

    def place(self, index: int) -> str | None:
        """What messages call it, if its reader can tell."""
        return place_of(*self._at(index))

    def content(self, index: int) -> bytes | None:
        """Its bytes, if its reader gives them."""
        return content_of(*self._at(index))

    def _at(self, index: int) -> tuple[Reader, int]:
        part = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.readers[part], index - self.starts[part]


def joined(sets: Sequence[ImageSet]) -> ImageSet:
    """One set of several; classes of one name are one class. Cameras, groups and the like are left behind.

    >>> from circlet.data import FileReader
    >>> def images(label, name):
    ...     return ImageSet.from_classes([label], [name], FileReader("photos", (name,)))
    >>> both = joined([images("bee", "1.jpg"), images("ant", "2.jpg")])
    >>> both.names, both.labels.tolist(), file_of(both.read, 1)
    (('1.jpg', '2.jpg'), [1, 0], 'photos/2.jpg')
    """
    starts = np.cumsum([0, *(len(part) for part in sets)])[:-1]
    reader = Joined(tuple(part.read for part in sets), tuple(starts.tolist()))
    classes = [part.class_names[label] for part in sets for label in part.labels.tolist()]
    return ImageSet.from_classes(classes, [name for part in sets for name in part.names], reader)
