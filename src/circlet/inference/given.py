"""Images as people have them (paths, a folder, Pillow images, arrays, bytes) as an `ImageSet`; none is decoded here."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from circlet.data import DataError, ImageSet, every_image
from circlet.data.images import NO_CLASS, FileReader
from circlet.data.open_image import open_image
from circlet.data.table import TABLES
from circlet.data.vector_reader import vector_set
from circlet.data.vector_sets import every_vector
from circlet.data.walk import what_is_at
from circlet.terminal import storable

One: TypeAlias = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8] | Tensor | bytes
Given: TypeAlias = One | Sequence[One] | ImageSet | npt.NDArray[np.floating[Any]]  # floats: vectors


def image_set(images: Given) -> ImageSet:
    """One image, several, or all that a folder or a manifest has.

    >>> image_set([Image.new("RGB", (4, 3)), np.zeros((3, 4, 3), np.uint8)]).names
    ('image 0', 'image 1')

    images: a path, a Pillow image, a uint8 array (height, width[, channels]) or tensor (channels, height, width), or
    the bytes of an image file; a sequence of these; an array or tensor with a first dimension more, a batch; a folder
    (`circlet.data.every_image`) or a manifest; or an `ImageSet`, which is given back. Only in a folder and a manifest
    do images have classes. Arrays and tensors are red, green, blue, or grey.

    A path that leads to nothing is found when it is read, and named then. ValueError for anything else.
    """
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, str | os.PathLike):
        path = Path(images)
        if path.suffix.lower() in TABLES or what_is_at(path) == "a folder":
            return every_image(path)
        return _of_files([path])
    if isinstance(images, Image.Image | bytes | bytearray | memoryview):
        return _of_each([images])
    if isinstance(images, np.ndarray | Tensor):
        single = images.ndim == 2 or images.ndim == 3
        return _of_each([images] if single else list(images))
    if not isinstance(images, Sequence):
        raise ValueError(f"images: found {type(images).__name__}, expected a path, an image, or a list of them")
    paths = [each for each in images if isinstance(each, str | os.PathLike)]
    if len(paths) == len(images):
        return _of_files(list(map(Path, paths)))
    return _of_each(list(images))


def given_vectors(vectors: Given) -> ImageSet:
    """One vector, several, or all that a file has, for a model of vectors.

    >>> len(given_vectors(np.eye(3, dtype=np.float32)))
    3

    vectors: an array, a tensor or lists of numbers, (dim,) or (n, dim); a path of .parquet or .npy
    (`circlet.data.vector_files`), whose labels are the classes; or an `ImageSet` of vectors, which is given back.
    DataError for vectors that cannot be compared, ValueError for anything else.
    """
    if isinstance(vectors, ImageSet):
        return vectors
    if isinstance(vectors, str | os.PathLike):
        return every_vector(Path(vectors))
    if isinstance(vectors, Sequence) and len(vectors) == 1 and isinstance(vectors[0], str | os.PathLike):
        return every_vector(Path(vectors[0]))
    plain = vectors.detach().cpu() if isinstance(vectors, Tensor) else vectors
    try:
        rows = np.asarray(plain)
    except ValueError as error:  # lists of different lengths
        raise DataError(f"vectors: found no matrix ({error}), expected numbers (n, dim)") from error
    return vector_set(rows[None] if rows.ndim == 1 else rows)


@dataclass(frozen=True, eq=False)
class GivenReader:
    """Reader of what is in memory, paths among it."""

    images: tuple[str | bytes | Image.Image, ...]

    def __call__(self, index: int) -> Image.Image:
        """Image `index`: a copy of a Pillow image, which its owner keeps as it is."""
        image = self.images[index]
        return image.copy() if isinstance(image, Image.Image) else open_image(image)

    def file(self, index: int) -> str | None:
        """The path of image `index`, if it was given as one."""
        image = self.images[index]
        return image if isinstance(image, str) else None

    def place(self, index: int) -> str:
        """What messages call image `index`."""
        return self.file(index) or f"image {index}"

    def content(self, index: int) -> bytes | None:
        """The bytes of a file, or of what was given as such."""
        image = self.images[index]
        if isinstance(image, Image.Image):
            return None
        return image if isinstance(image, bytes) else FileReader("", (image,)).content(0)


def _of_files(paths: list[Path]) -> ImageSet:
    for path in paths:
        if what_is_at(path) == "a folder":
            raise DataError(f"{path}: found a folder among {len(paths)} paths, expected it alone, or image files")
    names = [storable(path.as_posix()) for path in paths]
    return ImageSet.from_classes([NO_CLASS] * len(paths), names, FileReader("", tuple(map(str, paths))))


def _of_each(images: list[object]) -> ImageSet:
    read = GivenReader(tuple(_plain(image, index) for index, image in enumerate(images)))
    names = [storable(each) if isinstance(each, str) else f"image {i}" for i, each in enumerate(read.images)]
    return ImageSet.from_classes([NO_CLASS] * len(names), names, read)


def _plain(image: object, index: int) -> str | bytes | Image.Image:
    if isinstance(image, str | os.PathLike):
        return str(Path(image))
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, bytes | bytearray | memoryview | io.BytesIO):
        return image.getvalue() if isinstance(image, io.BytesIO) else bytes(image)
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.permute(1, 2, 0).numpy() if image.ndim == 3 else image.numpy()
    if not isinstance(image, np.ndarray):
        raise ValueError(f"images: found {type(image).__name__} as image {index}, expected a path, a Pillow image, a "
                         "uint8 array or tensor, or bytes")  # fmt: skip
    shape = image.shape
    if image.ndim == 3 and shape[2] == 1:
        image = image[:, :, 0]
    whole = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    if image.dtype != np.uint8 or not whole or not image.size:
        raise ValueError(f"images: found {image.dtype} {shape} as image {index}, expected uint8, (height, width, 3) of "
                         "an array or (3, height, width) of a tensor, or grey")  # fmt: skip
    return Image.fromarray(np.ascontiguousarray(image))
