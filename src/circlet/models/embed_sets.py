"""Embedding whole image sets as they are tested: in the views asked for, with progress shown; and the raw pixels.

`embed` does the work; here it is given plain views of the decoded images.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from circlet.distributed import own_device, rows_of_ranks
from circlet.models.embedder import Embedder
from circlet.models.embedding import embedded, in_file, in_memory
from circlet.models.views import View, plain_view
from circlet.progress import progress

BATCH_PIXELS = 2**21  # of a batch: more of them do not fit the caches of a processor
MAX_RAW_SIDE, RAW_SIDE = 64, 32


class Batched(Protocol):
    """Decoded images in order, such as `circlet.data.Pixels`."""

    def __len__(self) -> int:
        """How many images."""
        ...

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """All of them: (batch, channels, height, width), uint8 or float 0 to 1."""
        ...

    def part(self, rows: slice) -> "Batched":
        """Some of them, which can be pickled."""
        ...


class Embedded(NamedTuple):
    """Embeddings (N, dim) of the query and the gallery images, any float dtype; gallery None: the other queries."""

    query: Tensor
    gallery: Tensor | None


def batch_size(size: tuple[int, int]) -> int:
    """How many images of (height, width) a network is given at once when nothing is trained.

    >>> batch_size((224, 224)), batch_size((32, 32))
    (41, 256)
    """
    return max(8, min(256, BATCH_PIXELS // (size[0] * size[1])))


def embed_pixels(
    model: nn.Module,
    pixels: Batched,
    view: View,
    device: torch.device,
    *,
    normalize: bool = True,
    file: Path | None = None,
) -> Tensor:
    """Embeddings (N, dim), on the CPU, of all images of a set, seen as `view` says.

    normalize, file: in unit length, and written into a file, as `circlet.models.embed`. For rank 0 within
    `circlet.distributed.led` all ranks take part, each with whole batches of those that one process would make.
    """
    if not len(pixels):
        raise ValueError("pixels: found no image, expected at least one")
    common = (model, view, str(device), normalize)
    size = batch_size(view.size)
    with progress("embed", len(pixels), unit="image") as shown:
        blocks = rows_of_ranks(_rows, common, pixels.part, len(pixels), size)
        with closing(blocks):

            def told() -> Iterator[tuple[int, Tensor]]:
                for first, block in blocks:
                    yield first, block
                    shown.advance(len(block))

            placed = told()
            start = next(placed)
            dim, every = start[1].shape[1], chain([start], placed)
            if file is not None:
                return in_file(every, dim, len(pixels), file)
            return in_memory(every, dim, len(pixels))


def _rows(model: nn.Module, view: View, leader: str, normalize: bool, pixels: Batched) -> Iterator[Tensor]:
    """The embeddings of all images, a batch at a time, on the device of this rank."""
    device = own_device(leader)

    def seen() -> Iterator[Tensor]:
        for decoded in pixels.batches(batch_size(view.size)):
            images = decoded.to(device)
            whole = images.shape[2], images.shape[3]
            yield plain_view(images, whole) if view.five_crops else plain_view(images, view.size, view.crop_share)

    if len(pixels):
        crop = view.size if view.five_crops else None
        yield from embedded(model.to(device), seen(), device=device, normalize=normalize, flip=view.flip, crop=crop)


def embed_test_set(
    model: nn.Module, query: Batched, gallery: Batched | None, view: View, device: torch.device
) -> Embedded:
    """Embeddings of the query and the gallery images."""
    rows = None if gallery is None else embed_pixels(model, gallery, view, device)
    return Embedded(embed_pixels(model, query, view, device), rows)


class RawPixels(nn.Module):
    """The normalised pixels themselves as embeddings: what any training must beat.

    Of images larger than 64 pixels, the means over a grid of 32 x 32, for the memory's sake.
    """

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels x height x width)."""
        pixels = self.model.normalized(images)
        if max(pixels.shape[2:]) > MAX_RAW_SIDE:
            pixels = nn.functional.adaptive_avg_pool2d(pixels, RAW_SIDE)
        return pixels.flatten(1)
