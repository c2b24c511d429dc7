"""A network with its preprocessing, ready to embed: what a run, an exported file and a pretrained network all are.

Images are decoded and seen exactly as in training and testing; features of a frozen network are taken from where they
are kept (`circlet.transfer.Frozen`), of images that are files. Whose images they are is not known here, nor where
vectors go (`circlet.index`).
"""

import copy
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from circlet.data import DataError, ImageSet, every_image
from circlet.data.decoded import are_files, decode_all
from circlet.data.pixels import Decoding, Pixels, load_pixels
from circlet.data.vector_sets import every_vector
from circlet.features import digest
from circlet.inference.given import Given, given_vectors, image_set
from circlet.models import Embedder, View, embed_pixels, folded
from circlet.progress import progress, silenced
from circlet.terminal import say
from circlet.transfer import Frozen, LinearMap, head_of

if TYPE_CHECKING:
    from circlet.evaluate.thresholds import Thresholds

OnError = Literal["raise", "skip"]
FORMAT = "model 1"  # another one where the same weights would give other vectors
SECONDS_A_PART = 10.0  # of `embed_parts`: what an interrupted index has to do again
LEAST_PART, MOST_PART = 128, 1 << 14
AT_ONCE = 256  # images held in memory, decoded


class Part(NamedTuple):
    """A part of a set: `indices` into it of the images that could be read, and their unit `rows` (m, dim) on the CPU.

    broken: (index, reason) of each of the others; the reason names the file.
    """

    indices: list[int]
    rows: Tensor
    broken: list[tuple[int, str]]


class Model:
    """A network with its preprocessing.

    network: in evaluation mode, on `device`. view, decoding: how images are seen and decoded. name: for people. source:
    the run folder or file that it comes from. thresholds: chosen on validation classes of its run; None: there are
    none. kept: whether features of files are kept, and taken from there; the head must be one linear layer, or nothing.
    trained: whether it was trained on classes of somebody's own; False: a pretrained network as it is published.
    """

    def __init__(
        self,
        network: Embedder,
        view: View,
        decoding: Decoding,
        *,
        name: str,
        source: Path | None = None,
        thresholds: "Thresholds | None" = None,
        device: torch.device | str | None = None,
        kept: bool = False,
        trained: bool = True,
    ) -> None:
        self.device = default_device(device)
        self.network = network.to(self.device).eval()
        self.view, self.name, self.source, self.thresholds = view, name, source, thresholds
        self.decoding = replace(decoding, in_memory=False, workers=0, on_error="raise")
        self.kept, self.trained = kept and not view.five_crops, trained

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        return self.network.embedding_dim

    @property
    def embedding_dim(self) -> int:
        """The same, as networks call it."""
        return self.network.embedding_dim

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits: equal for models that give the same vectors, whatever they are called.

        Of names, shapes and numbers of the weights, pooling, preprocessing and view; not of source code, so that an
        upgrade of circlet keeps vectors valid.
        """
        network, decoding, view = self.network, self.decoding, self.view
        parts: list[tuple[str | bytes, ...]] = []
        for name, tensor in sorted(network.state_dict().items()):
            if not name.endswith("num_batches_tracked"):
                plain = tensor.detach().cpu().contiguous()
                content = hashlib.blake2b(plain.reshape(-1).view(torch.uint8).numpy().data).digest()
                parts.append((name, str(plain.dtype), str(tuple(plain.shape)), content))
        pooling = (type(network.pooling).__name__, *(type(part).__name__ for part in network.pooling.children()))
        normal = tuple(tuple(map(float, part.flatten())) for part in (network.mean, network.std))
        decoded = (*decoding.size, decoding.channels, decoding.fit, decoding.interpolation)
        seen = (*view.size, float(view.crop_share), view.flip, view.five_crops)
        return digest(FORMAT, tuple(parts), pooling, normal, decoded, seen)

    def __call__(self, batch: Tensor) -> Tensor:
        """The network on images as it sees them (batch, channels, height, width): embeddings, not of unit length."""
        embeddings: Tensor = self.network(batch)
        return embeddings

    def embed(self, images: Given, *, on_error: OnError = "raise", show_progress: bool = True) -> Tensor:
        """Unit rows (n, dim), float32 on the CPU, of images in any form (`circlet.inference.image_set`), or of vectors.

        One image gives (1, dim), none (0, dim). on_error: an image that cannot be read is a `DataError` that names it,
        or, with "skip", is named on standard error and left out; `embed_images` tells which are left.
        """
        return self.embed_images(self.taken(images), on_error=on_error, show_progress=show_progress)[1]

    @property
    def of_vectors(self) -> bool:
        """Whether it takes vectors, and no images."""
        return self.decoding.fit == "vector"

    def taken(self, images: Given) -> ImageSet:
        """What is given as a set: images in any form, or where the model takes vectors, these (`given_vectors`)."""
        return given_vectors(images) if self.of_vectors else image_set(images)

    def listed(self, path: str | Path) -> ImageSet:
        """All images of a folder or a manifest (`every_image`), or where the model takes vectors, those of a file."""
        return every_vector(path) if self.of_vectors else every_image(path)

    def embed_images(
        self, images: ImageSet, *, on_error: OnError = "raise", show_progress: bool = True
    ) -> tuple[ImageSet, Tensor]:
        """The images of a set that could be read, all of them unless "skip", and their unit rows (n, dim)."""
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error: found {on_error!r}, expected raise or skip")
        if on_error == "raise":
            with silenced(not show_progress):
                return images, self._rows(images)
        with silenced(not show_progress):
            found = self.embed_readable(images, "skipped")
        return (images.subset(found.indices) if found.broken else images), found.rows

    def embed_readable(self, images: ImageSet, word: str) -> Part:
        """All of a set as one part, with progress; what cannot be read is told at once, after a word for it."""
        parts = [Part([], torch.zeros(0, self.dim), [])]
        with progress("embed", len(images), unit="image") as shown:
            for part in self.embed_parts(images):
                parts.append(part)
                for _, reason in part.broken:
                    say(f"{word}: {reason}")
                shown.advance(len(part.indices) + len(part.broken))
        indices, broken = ([each for part in parts for each in getattr(part, name)] for name in ("indices", "broken"))
        return Part(indices, torch.cat([part.rows for part in parts]), broken)

    def embed_decoded(self, pixels: Tensor) -> Tensor:
        """Unit rows (n, dim), on the CPU, of images that are decoded as `decoding` says: uint8 (n, channels, h, w)."""
        with silenced():
            return embed_pixels(self._fast, _InMemory(pixels), self.view, self.device)

    def embed_parts(self, images: ImageSet) -> Iterator[Part]:
        """A set in parts that take some ten seconds each, in order; without progress. What cannot be read is told."""
        begin, size, careful = 0, LEAST_PART, False
        while begin < len(images):
            began = time.monotonic()
            end = min(begin + size, len(images))
            with silenced():
                part = self._part(images, range(begin, end), careful=careful)
            yield part
            careful = careful or bool(part.broken)
            took = time.monotonic() - began
            size = min(MOST_PART, 2 * size) if took < SECONDS_A_PART / 2 else size
            begin = end

    def _part(self, images: ImageSet, indices: range, *, careful: bool) -> Part:
        """careful: some images of the set have been broken, so that more may be."""
        if not careful:
            try:
                whole = len(indices) == len(images)
                return Part(list(indices), self._rows(images if whole else images.subset(indices)), [])
            except DataError:
                pass
        parts = [self._decoded_first(images, indices[i : i + AT_ONCE]) for i in range(0, len(indices), AT_ONCE)]
        rows = torch.cat([part.rows for part in parts])
        return Part([i for part in parts for i in part.indices], rows, [each for part in parts for each in part.broken])

    def _decoded_first(self, images: ImageSet, indices: range) -> Part:
        """Images that are few enough to be held in memory; each is decoded before any is embedded."""
        form = self.decoding
        chosen = images.subset(indices)
        decoded = decode_all(
            chosen, size=form.size, channels=form.channels, fit=form.fit, interpolation=form.interpolation,
            max_megapixels=form.max_megapixels, num_workers=None if are_files(chosen) else 0, on_error="skip",
            progress=False,
        )  # fmt: skip
        good = [indices[i] for i in decoded.kept.tolist()]
        reasons = (reason for _, reason in decoded.broken)
        broken = list(zip(sorted(set(indices) - set(good)), reasons, strict=True))
        if not good:
            return Part([], torch.zeros(0, self.dim), broken)
        pixels = Pixels(images.subset(good), decoded.images, None)
        return Part(good, self._embedded(pixels), broken)

    def _rows(self, images: ImageSet) -> Tensor:
        if not len(images):
            return torch.zeros(0, self.dim)
        return self._embedded(load_pixels(images, self.decoding))

    def _embedded(self, pixels: Pixels) -> Tensor:
        if self.kept and are_files(pixels.images):
            return self._frozen.embeddings(pixels, self._head).float()
        return embed_pixels(self._fast, pixels, self.view, self.device)

    @cached_property
    def _frozen(self) -> Frozen:
        return Frozen(self.network, self.view, self.decoding, self.device)

    @cached_property
    def _head(self) -> LinearMap | None:
        return head_of(self.network) if any(isinstance(m, nn.Linear) for m in self.network.head.modules()) else None

    @cached_property
    def _fast(self) -> Embedder:
        """The network with batch norms folded: the same numbers to 1e-5 in two thirds of the time."""
        network = self.network
        channels, generator = network.channels, torch.Generator().manual_seed(0)
        example = torch.rand(1, channels, *self.view.size, generator=generator).to(self.device)
        fast = copy.copy(network)
        fast._modules = dict(network._modules)
        with torch.no_grad():
            fast.backbone = folded(network.backbone, network.normalized(example))
        return fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def __repr__(self) -> str:
        return f"Model({self.name!r}, dim={self.dim}, {self.view.size[0]} x {self.view.size[1]} px, {self.digest[:8]})"


@dataclass(frozen=True, eq=False)
class _InMemory:
    """Decoded images, as `embed_pixels` takes them."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def part(self, rows: slice) -> "_InMemory":
        """Some of the images."""
        return _InMemory(self.pixels[rows].clone())

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """All images in order."""
        yield from self.pixels.split(batch_size)


def default_device(device: torch.device | str | None) -> torch.device:
    """The device; None: a GPU if there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
