"""What the service does, without HTTP: from the bytes of pictures to answers, many at once.

An upload goes through three hands: threads that decode it (`pictures`), the network's thread, and the index's thread
(`batches`), where reads and writes take turns, so that each sees a whole state.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import torch

from circlet.serve import answers
from circlet.serve.batches import Batches
from circlet.serve.gallery import GONE, Asked, Gallery, Hit
from circlet.serve.limits import Limits
from circlet.serve.names import checked_label, content_of
from circlet.serve.pictures import KEPT_SIDE, THUMBNAIL_SIDE, Studio, small_picture
from circlet.serve.refusal import Refusal
from circlet.serve.verdicts import identified, verified
from circlet.vectors import Floats

P = ParamSpec("P")
T = TypeVar("T")

_NETWORK_BATCH, _SEARCH_BATCH = 32, 256
_ROWS, _THUMBNAILS = 1024, 4096  # kept in memory; a thumbnail takes some 6 kB
_LOOKED_AT = 100  # neighbours among which the most similar classes are


class Service:
    """An index in use. Its methods raise `Refusal` for what cannot be done."""

    def __init__(self, gallery: Gallery, limits: Limits) -> None:
        self.gallery, self.limits = gallery, limits
        self.studio = Studio(gallery.decoding, limits)
        self._network, self._index = (ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("network", "index"))
        self._embed = Batches(gallery.embed, self._network, most=_NETWORK_BATCH)
        self._find = Batches(gallery.search, self._index, most=_SEARCH_BATCH)
        self._rows: OrderedDict[str, Floats] = OrderedDict()
        self._thumbnails: OrderedDict[str, bytes] = OrderedDict()

    async def warm_up(self) -> None:
        """Let the network see an image, so that the first request waits for no preparation."""
        form = self.gallery.decoding
        await self._embed(torch.zeros(form.channels, *form.size, dtype=torch.uint8))

    async def search(self, picture: bytes, k: int) -> answers.Searched:
        """The k items most like a picture."""
        content = content_of(picture)
        hits = await self._find(Asked(await self._row(picture, content), k))
        return answers.Searched(self._neighbours(hits, content))

    async def identify(self, picture: bytes, k: int, fpir: float) -> answers.Identified:
        """Its class, or that it is of none; with the k most similar items."""
        content = content_of(picture)
        hits = await self._find(Asked(await self._row(picture, content), max(k, _LOOKED_AT)))
        return identified(hits, self._neighbours(hits[:k], content), self.gallery.thresholds, fpir,
                          self.gallery.num_classes)  # fmt: skip

    async def verify(self, a: bytes, b: bytes, far: float) -> answers.Verified:
        """Whether two pictures show one class."""
        rows = await asyncio.gather(self._row(a, content_of(a), "a"), self._row(b, content_of(b), "b"))
        return verified(float(rows[0] @ rows[1]), self.gallery.thresholds, far)

    async def enrol(self, picture: bytes, label: str | None) -> answers.Enrolled:
        """Put a picture under a label, or do nothing where it is; on the disk when this returns."""
        checked, content = checked_label(label), content_of(picture)
        self.gallery.require_writable()
        row = await self._row(picture, content)
        small = await self.studio.do(small_picture, picture, KEPT_SIDE, "JPEG", self.limits.max_megapixels)
        return await self.at_index(self.gallery.enrol, content, checked, row, small)

    async def take_back(self, id: str) -> answers.TakenBack:
        """Take an enrolled item out again."""
        self.gallery.require_writable()
        done = await self.at_index(self.gallery.take_back, id)
        self._thumbnails.pop(id, None)
        return done

    async def thumbnail(self, id: str) -> bytes:
        """A small picture of an item, as WebP."""
        if id in self._thumbnails:
            self._thumbnails.move_to_end(id)
            return self._thumbnails[id]
        path = await self.at_index(self.gallery.file_of, id)
        try:
            made = await self.studio.do(
                small_picture, str(path), THUMBNAIL_SIDE, "WEBP", self.gallery.decoding.max_megapixels
            )
        except Refusal as refusal:
            if refusal.status != 422:
                raise
            raise Refusal(404, "picture: found none, or a damaged one, where the index says it lies") from refusal
        if id not in self.gallery:  # taken back meanwhile: nothing of it is to stay
            raise Refusal(404, GONE)
        _keep(self._thumbnails, id, made, _THUMBNAILS)
        return made

    async def at_index(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Its result, done when the index is free; it is finished even if nobody waits any more."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._index, lambda: work(*args, **kwargs)))

    def close(self) -> None:
        """End the threads, once they have done what they do."""
        self.studio.close()
        self._network.shutdown()
        self._index.shutdown()

    async def _row(self, picture: bytes, content: str, name: str = "image") -> Floats:
        """The embedding of a picture; that of one seen a moment ago is still there."""
        if content in self._rows:
            self._rows.move_to_end(content)
            return self._rows[content]
        pixels = await self.studio.do(self.studio.pixels, picture, name)
        row = await self._embed(torch.from_numpy(pixels))
        _keep(self._rows, content, row, _ROWS)
        return row

    def _neighbours(self, hits: list[Hit], content: str) -> tuple[answers.Neighbour, ...]:
        return tuple(
            answers.Neighbour(hit.id, hit.item.name, hit.item.label, hit.similarity, hit.enrolled,
                              hit.item.content == content)
            for hit in hits
        )  # fmt: skip


def _keep(kept: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)
