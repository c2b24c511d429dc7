"""Pictures for pages: thumbnails, and one sheet of many, as WebP in data URIs."""

import io
from collections.abc import Sequence
from functools import cache

from PIL import Image

from circlet.data.decode import decode
from circlet.data.images import ImageSet
from circlet.pages import data_uri

SIDE = 96
QUALITY = 75


class Album:
    """Thumbnails of image sets as data URIs, each made once however often it is shown."""

    def __init__(self) -> None:
        self.thumbnail = cache(_thumbnail)


def sheet(images: ImageSet, indices: Sequence[int], *, side: int, columns: int) -> str:
    """The images row by row on one picture, `columns` in a row, each `side` pixels wide and high: a data URI."""
    picture = Image.new("RGB", (columns * side, -(-len(indices) // columns) * side), "white")
    for place, index in enumerate(indices):
        picture.paste(_small(images, index, side), (place % columns * side, place // columns * side))
    return _uri(picture)


def _thumbnail(images: ImageSet, index: int) -> str:
    return _uri(_small(images, index, SIDE))


def _small(images: ImageSet, index: int, side: int) -> Image.Image:
    return Image.fromarray(decode(images, index, size=(side, side), fit="pad").transpose(1, 2, 0).copy())


def _uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="webp", quality=QUALITY)
    return data_uri("image/webp", buffer.getvalue())
