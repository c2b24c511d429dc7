"""Readers: from the number of an image to the image, one at a time.

A reader is a function `(index) -> PIL image`. It may offer more, which nobody needs to have:

- `content(index) -> bytes | None`: bytes that are equal where the images are, undecoded (`circlet.data.content`);
- `file(index) -> str | None`: the path of the file that the image comes from; None where it is no file of its own;
- `part(index) -> bytes | None`: which part of that file it is; b"" for the whole, None where that cannot be told. Two
  images of equal files and of one part are one picture (`circlet.data.pictures`);
- `place(index) -> str | None`: what messages call an image that is no file of its own: the archive, and where in it.

A reader that names its files may be called from several threads at once (`circlet.data.ahead`).
"""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from circlet.data.open_image import open_image
from circlet.data.regular import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_BYTES = 1 << 31

Reader = Callable[[int], "Image"]


@dataclass(frozen=True)
class FileReader:
    """Reader of image files: image i is the file `root`/`paths[i]`; an absolute path stands for itself."""

    root: str
    paths: tuple[str, ...]

    def __call__(self, index: int) -> "Image":
        """Return image `index`, not decoded yet: its file stays open until it is loaded or closed."""
        return open_image(self.file(index))

    def file(self, index: int) -> str:
        """The path of image `index`."""
        return os.path.join(self.root, self.paths[index])

    def part(self, index: int) -> bytes:
        """b"", the whole file."""
        return b""

    def content(self, index: int) -> bytes:
        """The bytes of the file; an OSError where it cannot be read, a ValueError if no regular file or above 2 GiB."""
        with open_regular(self.file(index)) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MOST_BYTES:
                raise ValueError(f"found {size / 2**30:,.1f} GiB, expected an image file of at most 2 GiB")
            return file.read(_MOST_BYTES)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Reader of a subset: image i is image `indices[i]` of the reader below."""

    read: Reader
    indices: npt.NDArray[np.int64]

    @classmethod
    def of(cls, read: Reader, indices: npt.NDArray[np.int64]) -> Self:
        """Choose from a reader; a subset of a subset stays one step from the pixels."""
        return cls(read.read, read.indices[indices]) if isinstance(read, Chosen) else cls(read, indices)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """To another process go the paths of these images, and not those of a million others."""
        if type(self.read) is FileReader:
            return FileReader, (self.read.root, tuple(self.read.paths[index] for index in self.indices.tolist()))
        return type(self), (self.read, self.indices)

    def __call__(self, index: int) -> "Image":
        """Return image `index` of the subset."""
        return self.read(int(self.indices[index]))

    def file(self, index: int) -> str | None:
        """The path of image `index`, if the reader below knows it."""
        return file_of(self.read, int(self.indices[index]))

    def part(self, index: int) -> bytes | None:
        """Which part of its file image `index` is, if the reader below can tell."""
        return part_of(self.read, int(self.indices[index]))

    def place(self, index: int) -> str | None:
        """What messages call image `index`, if the reader below can tell."""
        return place_of(self.read, int(self.indices[index]))

    def content(self, index: int) -> bytes | None:
        """The bytes of image `index`, if the reader below gives them."""
        return content_of(self.read, int(self.indices[index]))


def file_of(read: Reader, index: int) -> str | None:
    """What the reader's `file` says; None without such a method: a reader of others may mean anything by the name."""
    file: Callable[[int], str | None] | None = getattr(type(read), "file", None)
    return read.file(index) if inspect.isfunction(file) else None  # type: ignore[attr-defined]


def part_of(read: Reader, index: int) -> bytes | None:
    """What the reader's `part` gives; None without such a method."""
    part: Callable[[int], bytes | None] | None = getattr(type(read), "part", None)
    return read.part(index) if inspect.isfunction(part) else None  # type: ignore[attr-defined]


def place_of(read: Reader, index: int) -> str | None:
    """What messages call an image: what the reader's `place` says, or else its path if it is a whole file."""
    place: Callable[[int], str | None] | None = getattr(type(read), "place", None)
    if inspect.isfunction(place):
        found: str | None = read.place(index)  # type: ignore[attr-defined]
        return found
    return file_of(read, index) if part_of(read, index) == b"" else None


def content_of(read: Reader, index: int) -> bytes | None:
    """What the reader's `content` gives; None without such a method."""
    content: Callable[[int], bytes | None] | None = getattr(type(read), "content", None)
    return read.content(index) if inspect.isfunction(content) else None  # type: ignore[attr-defined]
