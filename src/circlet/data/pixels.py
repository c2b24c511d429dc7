"""The pixels of a set, ready for a network: decoded once into memory, or by loader workers as they are asked for.

What an image becomes is settled in `decode`; the order of training batches is not (`circlet.training.image_batches`).
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from circlet.data.ahead import map_ahead, num_threads
from circlet.data.decode import Fit, Interpolation
from circlet.data.decoded import DecodedImages, are_files, check_images, decode_all
from circlet.data.images import DataError, ImageSet, Ints
from circlet.data.notes import say_once
from circlet.data.open_image import MAX_MEGAPIXELS
from circlet.data.vector_reader import vectors_of
from circlet.data.worker_batches import WorkerBatches


@dataclass(frozen=True)
class Decoding:
    """How the images of a set are decoded.

    size, channels, fit, interpolation: of the decoded image; see `decode`. in_memory: all at once, before anything
    else. workers: processes that decode what is not in memory: batches to train on, and images that are no files.
    on_error: a missing or broken image is a DataError, or is left out ("skip") and listed in `Pixels.broken`.
    max_megapixels: of an image; a larger one counts as broken.
    """

    size: tuple[int, int]
    channels: int = 3
    fit: Fit = "stretch"
    in_memory: bool = False
    workers: int = 0
    on_error: Literal["raise", "skip"] = "raise"
    interpolation: Interpolation = "bicubic"
    max_megapixels: float = MAX_MEGAPIXELS


@dataclass(frozen=True)
class Pixels:
    """The readable images of a set, in memory (uint8, as `batches`) or through `dataset`.

    Vectors are in memory as float32 (n, 1, 1, dim): images of one channel and one pixel in height.

    broken: (name, reason) of each image that was left out. damaged_exif: names of images whose EXIF data were passed
    over; of those that have been decoded.
    """

    images: ImageSet
    memory: Tensor | None
    dataset: DecodedImages | None
    workers: int = 0
    broken: tuple[tuple[str, str], ...] = ()
    damaged_exif: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: slice | Ints) -> "Pixels":
        """Some of the images, to be sent to another process: of what is in memory, their pixels alone."""
        if isinstance(rows, slice) and len(range(*rows.indices(len(self)))) == len(self):
            return self
        chosen = np.arange(len(self))[rows]
        images, memory = self.images.subset(chosen), self.memory
        if memory is not None:
            return Pixels(replace(images, read=_in_memory_alone), memory[torch.from_numpy(chosen)], None)
        assert self.dataset is not None
        return Pixels(images, None, self.dataset.of(images), self.workers)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """All images in order: uint8 (batch, channels, height, width).

        Files that are not in memory are decoded in threads, up to two batches ahead, while the caller is at work; other
        images by `workers` processes.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: found {batch_size}, expected at least 1")
        if self.memory is not None:
            yield from self.memory.split(batch_size)
            return
        assert self.dataset is not None
        if are_files(self.images):
            yield from _decoded_ahead(self.dataset, batch_size)
            return
        yield from WorkerBatches(self.dataset, self.workers, batch_size=batch_size)


def _in_memory_alone(index: int) -> Any:
    raise DataError(f"image {index}: found none to read, expected its pixels to be used, which are in memory")


def _decoded_ahead(dataset: DecodedImages, batch_size: int) -> Iterator[Tensor]:
    """Batches of all images in order, decoded in threads while the caller has the batch before."""
    images = map_ahead(lambda i: dataset[i][0], len(dataset), threads=num_threads(), ahead=2 * batch_size)
    with closing(images):
        while rows := list(islice(images, batch_size)):
            batch = torch.stack(rows)
            yield batch.pin_memory() if torch.cuda.is_available() else batch


def load_pixels(images: ImageSet, decoding: Decoding) -> Pixels:
    """Make a set's pixels ready; where it decodes them, it says on standard error how many have damaged EXIF data.

    >>> from circlet.data import glyphs
    >>> pixels = load_pixels(glyphs().query.subset(range(3)), Decoding((16, 16), channels=1))
    >>> [tuple(batch.shape) for batch in pixels.batches(2)]
    [(2, 1, 16, 16), (1, 1, 16, 16)]
    """
    rows = vectors_of(images.read)
    if decoding.fit == "vector" and rows is not None:
        if rows.shape[1] != decoding.size[1]:
            raise DataError(f"vectors: found {rows.shape[1]} numbers in each, expected {decoding.size[1]}, which the "
                            "model is made for")  # fmt: skip
        return Pixels(images, torch.from_numpy(rows)[:, None, None], None)
    if rows is not None:
        raise DataError("vectors: found with a network for images, expected images, or the recipe vectors (circlet "
                        "train vectors)")  # fmt: skip
    names = ("size", "channels", "fit", "interpolation", "max_megapixels")
    form: dict[str, Any] = {name: getattr(decoding, name) for name in names}
    broken: list[tuple[str, str]] = []
    damaged: list[str] = []
    memory = None
    if decoding.in_memory:
        decoded = decode_all(images, **form, on_error=decoding.on_error)
        memory, broken, damaged = decoded.images, decoded.broken, decoded.damaged_exif
        images = images.subset(decoded.kept)
    elif decoding.on_error == "skip":
        workers = None if are_files(images) else decoding.workers
        broken, damaged = check_images(images, max_megapixels=decoding.max_megapixels, num_workers=workers)
        bad = {name for name, _ in broken}
        images = images.subset([i for i, name in enumerate(images.names) if name not in bad])
    dataset = DecodedImages(images, **form)
    if damaged:
        shown = ", ".join(map(ascii, damaged[:3])) + (f" and {len(damaged) - 3} more" if len(damaged) > 3 else "")
        say_once(f"warning: the damaged EXIF data of {len(damaged)} of {len(images)} images are passed over: {shown}")
    return Pixels(images, memory, dataset, decoding.workers, tuple(broken), tuple(damaged))
