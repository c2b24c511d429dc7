"""What a frozen network sees in images, computed once: its pooled features, by the content of each image.

Rows are kept by `circlet.features` under a digest of the weights, of how images are decoded and seen, and of the view,
so that training, testing, embedding, comparisons and reports share them. Five crops, and anything random, are not here.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from circlet.data.ahead import map_ahead, num_threads
from circlet.data.content import content_digest
from circlet.data.images import ImageSet
from circlet.data.pixels import Decoding, Pixels, load_pixels
from circlet.distributed import own_device, rows_of_ranks
from circlet.features import FeatureStore, digest, digest_of_module
from circlet.models import Embedder, RawPixels, View, batch_size, evaluating, folded, plain_view
from circlet.progress import progress
from circlet.similarity import unit_rows
from circlet.transfer.closed_form import LinearMap


class Seen(NamedTuple):
    """A fixed look at an image: which part of it (`circlet.models.plain_view`), and whether mirrored."""

    place: tuple[int, int] = (0, 0)
    mirrored: bool = False


# As in testing first, its mirror image, then the corners and theirs: what random crops and flips would show.
LOOKS = tuple(
    Seen(place, mirrored) for place in ((0, 0), (-1, -1), (1, 1), (-1, 1), (1, -1)) for mirrored in (False, True)
)
# The digests of the images of a set, read once however many networks look at them.
_KEYS: WeakKeyDictionary[ImageSet, list[bytes]] = WeakKeyDictionary()
FORMAT = "features 2"  # another one where the same settings would give other numbers


class Frozen:
    """The backbone and pooling of a model, as they are now, and how they see images.

    view: five crops are none of its business; `decoding`: of the images that are given later. device: where it runs.
    """

    def __init__(self, model: Embedder, view: View, decoding: Decoding, device: torch.device) -> None:
        self.model, self.view, self.decoding, self.device = model.to(device), view, decoding, device
        self._network = _digest(model)
        self._parts = (FORMAT, self._network, *self._form())
        self._pooled: _Pooled | None = None

    def features(self, pixels: Pixels, look: Seen = LOOKS[0]) -> Tensor:
        """(n, features) on the CPU, of the images as they are looked at; with a progress bar for what is new."""
        return self._rows(pixels, self._store(look), self._features, "features", look)

    def looks(self, pixels: Pixels, count: int = 1) -> Tensor:
        """(count, n, features): the first `count` of `LOOKS`."""
        return torch.stack([self.features(pixels, look) for look in LOOKS[:count]])

    def _features(self) -> nn.Module:
        if self._pooled is None:
            assert _digest(self.model) == self._network, "the network has been trained since this was made"
            self._pooled = _Pooled(self.model)
        return self._pooled

    def raw_pixels(self, pixels: Pixels) -> Tensor:
        """(n, numbers) unit rows: the pixels as `RawPixels` gives them."""
        store = FeatureStore(digest(FORMAT, "raw pixels", *self._form()))
        rows = self._rows(pixels, store, lambda: RawPixels(self.model), "raw pixels", LOOKS[0])
        return unit_rows(rows.float())

    def embeddings(self, pixels: Pixels, head: LinearMap | None = None) -> Tensor:
        """(n, dim) unit rows on the CPU: `head` on the features, in the views that testing asks for.

        head: on the CPU; by default none, which gives what the network alone makes of the images.
        """
        return self.embeddings_in_parts(pixels, [(slice(None), head)])[0]

    def embeddings_in_parts(
        self, pixels: Pixels, parts: Sequence[tuple[slice | list[int], LinearMap | None]]
    ) -> list[Tensor]:
        """As `embeddings`, of some rows of the images at a time, each with a head of its own."""
        looks = LOOKS[: 2 if self.view.flip else 1]
        features = [self.features(pixels, look) for look in looks]
        with torch.no_grad():
            seen = [[part[rows] if head is None else head(part[rows]) for part in features] for rows, head in parts]
            return [unit_rows(sum(each[1:], start=each[0])) for each in seen]

    def missing(self, pixels: Pixels, count: int = 1) -> int:
        """How many features are not there yet, of that many looks at the images."""
        keys = self._keys(pixels)
        return sum(len(self._store(look).find(keys).missing) for look in LOOKS[:count])

    def images_per_second(self, pixels: Pixels, seconds: float = 3.0) -> float:
        """How fast features are made here, decoding included: measured on the first images, for about that long."""
        size = batch_size(self.view.size)
        chosen = load_pixels(pixels.images.subset(range(min(len(pixels), 16 * size))), self._lazily)
        done, began, rate = 0, monotonic(), 0.0
        with closing(_made(self._features(), self.view, LOOKS[0], str(self.device), chosen)) as rows:
            for number, batch in enumerate(rows):
                done += len(batch)
                now = monotonic()
                rate = done / max(now - began, 1e-6)
                if now - began > seconds:
                    break
                if number == 0:  # it was there to warm up, unless it is all there is
                    done, began = 0, now
        return rate

    def _form(self) -> tuple[Any, ...]:
        decoding, view = self.decoding, self.view
        seen = tuple(tuple(map(float, part.flatten())) for part in (self.model.mean, self.model.std))
        how = (*decoding.size, decoding.channels, decoding.fit, decoding.interpolation)
        return (*seen, *how, *view.size, float(view.crop_share))

    @property
    def _lazily(self) -> Decoding:
        return replace(self.decoding, in_memory=False, on_error="raise")

    def _store(self, look: Seen) -> FeatureStore:
        return FeatureStore(digest(*self._parts, *look.place, int(look.mirrored)))

    def _keys(self, pixels: Pixels) -> list[bytes]:
        """The digests of the images' content."""
        images = pixels.images
        if images not in _KEYS:
            digests = map_ahead(lambda i: content_digest(images, i), len(images), threads=num_threads(), ahead=64)
            _KEYS[images] = list(digests)
        return _KEYS[images]

    def _rows(
        self, pixels: Pixels, store: FeatureStore, network: Callable[[], nn.Module], title: str, look: Seen
    ) -> Tensor:
        def compute(missing: Any) -> Iterator[tuple[Any, Tensor]]:
            def part(rows: slice) -> Pixels:
                if pixels.memory is not None:
                    return pixels.part(missing[rows])
                return load_pixels(pixels.images.subset(missing[rows]), self._lazily)

            common = network(), self.view, look, str(self.device)
            blocks = rows_of_ranks(_made, common, part, len(missing), batch_size(self.view.size))
            with progress(title, len(missing), unit="image") as shown, closing(blocks):
                for first, rows in blocks:
                    yield missing[first : first + len(rows)], rows
                    shown.advance(len(rows))

        return store.rows(self._keys(pixels), compute)


class _Pooled(nn.Module):
    """Backbone and pooling of a model, batch norms folded as soon as there is an image to try it on."""

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.model = model
        self.backbone: nn.Module | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, features)."""
        if self.backbone is None:
            self.backbone = folded(self.model.backbone, self.model.normalized(images[:1]))
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pooled: Tensor = self.model.pooling(self.backbone(self.model.normalized(images)))
        return pooled


@torch.no_grad()
def _made(network: nn.Module, view: View, look: Seen, leader: str, pixels: Pixels) -> Generator[Tensor, None, None]:
    """The rows of all images, a batch at a time, on the device of this rank; what a network makes of one look."""
    if not len(pixels):
        return
    device = own_device(leader)
    network = network.to(device)
    with evaluating(network):
        for decoded in pixels.batches(batch_size(view.size)):
            seen = plain_view(decoded.to(device), view.size, view.crop_share, place=look.place)
            seen = seen.flip(3) if look.mirrored else seen
            yield network(seen.contiguous(memory_format=torch.channels_last)).float().cpu()


def _digest(model: Embedder) -> str:
    """Of all that is frozen: the head is none of it."""
    return digest_of_module(nn.ModuleList([model.backbone, model.pooling]))
