"""Readers: from the number of an image to the image, one at a time.

A reader is a function `(index) -> PIL image`. It may offer more, which nobody needs to have:

- `content(index) -> bytes | None`: bytes that are equal where the images are, undecoded (`circlet.data.content`);
- `file(index) -> str | None`: the path of the file that the image comes from; None where it is no file of its own.

A reader that names its files may be called from several threads at once (`circlet.data.ahead`).
"""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Reader = Callable[[int], "Image"]


@dataclass(frozen=True)
class FileReader:
    """Reader of image files: image i is the file `root`/`paths[i]`; an absolute path stands for itself."""

    root: str
    paths: tuple[str, ...]

    def __call__(self, index: int) -> "Image":
        """Return image `index`, not decoded yet: its file stays open until it is loaded or closed."""
        from PIL import Image

        return Image.open(self.file(index))

    def file(self, index: int) -> str:
        """The path of image `index`."""
        return os.path.join(self.root, self.paths[index])

    def content(self, index: int) -> bytes:
        """The bytes of the file; an OSError where it cannot be read."""
        with open(self.file(index), "rb") as file:
            return file.read()


@dataclass(frozen=True, eq=False)
class Chosen:
    """Reader of a subset: image i is image `indices[i]` of the reader below."""

    read: Reader
    indices: npt.NDArray[np.int64]

    @classmethod
    def of(cls, read: Reader, indices: npt.NDArray[np.int64]) -> Self:
        """Choose from a reader; a subset of a subset stays one step from the pixels."""
        return cls(read.read, read.indices[indices]) if isinstance(read, Chosen) else cls(read, indices)

    def __call__(self, index: int) -> "Image":
        """Return image `index` of the subset."""
        return self.read(int(self.indices[index]))

    def file(self, index: int) -> str | None:
        """The path of image `index`, if the reader below knows it."""
        return file_of(self.read, int(self.indices[index]))

    def content(self, index: int) -> bytes | None:
        """The bytes of image `index`, if the reader below gives them."""
        return content_of(self.read, int(self.indices[index]))


def file_of(read: Reader, index: int) -> str | None:
    """What the reader's `file` says; None without such a method: a reader of others may mean anything by the name."""
    file: Callable[[int], str | None] | None = getattr(type(read), "file", None)
    return read.file(index) if inspect.isfunction(file) else None  # type: ignore[attr-defined]


def content_of(read: Reader, index: int) -> bytes | None:
    """What the reader's `content` gives; None without such a method."""
    content: Callable[[int], bytes | None] | None = getattr(type(read), "content", None)
    return read.content(index) if inspect.isfunction(content) else None  # type: ignore[attr-defined]
