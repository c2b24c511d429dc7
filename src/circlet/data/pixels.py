"""The pixels of a set, ready for a network: decoded once into memory, or by loader workers as they are asked for.

What an image becomes is settled in `decode`; the order of training batches is not (`circlet.training.image_batches`).
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from circlet.data.ahead import map_ahead, num_threads
from circlet.data.decode import Fit, Interpolation
from circlet.data.decoded import DecodedImages, are_files, decode_all, find_broken
from circlet.data.images import ImageSet


@dataclass(frozen=True)
class Decoding:
    """How the images of a set are decoded.

    size, channels, fit, interpolation: of the decoded image; see `decode`. in_memory: all at once, before anything
    else. workers: processes that decode what is not in memory: batches to train on, and images that are no files.
    on_error: a missing or broken image is a DataError, or is left out ("skip") and listed in `Pixels.broken`.
    """

    size: tuple[int, int]
    channels: int = 3
    fit: Fit = "stretch"
    in_memory: bool = False
    workers: int = 0
    on_error: Literal["raise", "skip"] = "raise"
    interpolation: Interpolation = "bicubic"


@dataclass(frozen=True)
class Pixels:
    """The readable images of a set, in memory (uint8, as `batches`) or through `dataset`.

    broken: (name, reason) of each image that was left out.
    """

    images: ImageSet
    memory: Tensor | None
    dataset: DecodedImages | None
    workers: int = 0
    broken: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

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
        loader = DataLoader(
            self.dataset,
            batch_size,
            num_workers=self.workers,
            generator=torch.Generator(),
            pin_memory=torch.cuda.is_available(),
        )
        for images, _, _ in loader:
            yield images


def _decoded_ahead(dataset: DecodedImages, batch_size: int) -> Iterator[Tensor]:
    """Batches of all images in order, decoded in threads while the caller has the batch before."""
    images = map_ahead(lambda i: dataset[i][0], len(dataset), threads=num_threads(), ahead=2 * batch_size)
    with closing(images):
        while rows := list(islice(images, batch_size)):
            batch = torch.stack(rows)
            yield batch.pin_memory() if torch.cuda.is_available() else batch


def load_pixels(images: ImageSet, decoding: Decoding) -> Pixels:
    """Make a set's pixels ready.

    >>> from circlet.data import glyphs
    >>> pixels = load_pixels(glyphs().query.subset(range(3)), Decoding((16, 16), channels=1))
    >>> [tuple(batch.shape) for batch in pixels.batches(2)]
    [(2, 1, 16, 16), (1, 1, 16, 16)]
    """
    form: dict[str, Any] = {name: getattr(decoding, name) for name in ("size", "channels", "fit", "interpolation")}
    broken: list[tuple[str, str]] = []
    memory = None
    if decoding.in_memory:
        decoded = decode_all(images, **form, on_error=decoding.on_error)
        memory, broken = decoded.images, decoded.broken
        images = images.subset(decoded.kept)
    elif decoding.on_error == "skip":
        broken = find_broken(images, num_workers=None if are_files(images) else decoding.workers)
        bad = {name for name, _ in broken}
        images = images.subset([i for i, name in enumerate(images.names) if name not in bad])
    dataset = DecodedImages(images, **form)
    return Pixels(images, memory, dataset, decoding.workers, tuple(broken))
