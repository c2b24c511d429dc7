"""Uploads to pixels, in a few threads, within limits of pixels and time; and to small pictures that may be kept.

Decoding is that of `circlet.data`, so that an upload becomes exactly what a file of an index became. A small picture is
drawn anew from the pixels, upright: of what a camera wrote beside them (place, time, owner) nothing is left.
"""

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from circlet.data import DataError, decode
from circlet.data.ahead import num_threads
from circlet.data.large import turn_of
from circlet.data.notes import cut
from circlet.data.open_image import FORMATS, TooLargeError, limited, open_image
from circlet.data.pixels import Decoding
from circlet.data.strict import passing_over, strict_warnings
from circlet.data.upright import orientation, upright_size
from circlet.inference import image_set
from circlet.serve.limits import Limits
from circlet.serve.refusal import Refusal
from circlet.terminal import printable

KEPT_SIDE, THUMBNAIL_SIDE = 1024, 256
P = ParamSpec("P")
T = TypeVar("T")


class Studio:
    """Threads that decode; what waits for them is bounded by the requests in flight."""

    def __init__(self, decoding: Decoding, limits: Limits) -> None:
        self.decoding, self.limits = decoding, limits
        self._threads = ThreadPoolExecutor(max(2, num_threads()), thread_name_prefix="decode")

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Its result; Refusal (503) where it takes too long. A thread cannot be stopped: it ends by itself."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await future
        except TimeoutError:
            raise Refusal(503, f"image: found {self.limits.seconds:g} seconds over while decoding it, expected less: "
                               "the service is busy, or the picture has many pixels", retry_s=5) from None  # fmt: skip

    def pixels(self, content: bytes, name: str = "image") -> npt.NDArray[np.uint8]:
        """As the model's images are decoded: uint8 (channels, height, width)."""
        form, most = self.decoding, self.limits.max_megapixels
        check_picture(content, most, name)
        return _decoded(content, most, name, form.size, form.channels, form.fit, form.interpolation)

    def close(self) -> None:
        """End the threads, once they have done what they do."""
        self._threads.shutdown(cancel_futures=True)


def check_picture(content: bytes, max_megapixels: float, name: str = "image") -> None:
    """Refusal: 415 for no image of a format that is read, 413 for one of too many pixels. No pixel is decoded."""
    try:
        with limited(max_megapixels), strict_warnings(), open_image(content):
            pass
    except TooLargeError as error:
        size = str(error).partition(", expected")[0]
        raise Refusal(413, f"{name}: {size}, expected at most {max_megapixels:g} megapixels (a quarter of that for "
                           "WebP, AVIF and JPEG 2000)") from None  # fmt: skip
    except MemoryError:
        raise
    except Exception as error:  # damage in the first bytes shows in many ways
        formats = ", ".join(FORMATS)
        raise Refusal(415, f"{name}: found no picture of a format that is read, expected one of {formats}") from error


def small_picture(
    source: bytes | str, side: int, kind: Literal["JPEG", "WEBP"], max_megapixels: float, name: str = "image"
) -> bytes:
    """A picture whose longer side is at most `side` pixels, upright, over white, of its pixels alone.

    source: the bytes of a file, or a path. Refusal (422) where it cannot be decoded.
    """
    from PIL import Image

    try:
        with limited(max_megapixels), strict_warnings(), open_image(source) as image:
            image.draft("RGB", (2 * side, 2 * side))
            with turn_of(image.size), passing_over():
                image.load()
            width, height = upright_size(image.size, orientation(image))
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(name, source, error) from error
    scale = min(1.0, side / max(width, height))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = _decoded(source, max_megapixels, name, size, 3, "stretch", "bicubic")
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0).copy()).save(file, kind, quality=90 if kind == "JPEG" else 80)
    return file.getvalue()


def _decoded(source: bytes | str, most: float, name: str, size: tuple[int, int], channels: int, fit: str,
             interpolation: str) -> npt.NDArray[np.uint8]:  # fmt: skip
    try:
        return decode(image_set([source]), 0, size=size, channels=channels, fit=fit,  # type: ignore[arg-type]
                      interpolation=interpolation, max_megapixels=most)  # type: ignore[arg-type]  # fmt: skip
    except DataError as error:
        raise _unreadable(name, source, error) from error


def _unreadable(name: str, source: bytes | str, error: Exception) -> Refusal:
    """Of an upload with Pillow's reason; of a file of ours without, since that may name it."""
    cause = error.__cause__ if isinstance(error, DataError) else error
    reason = f" ({printable(cut(str(cause)))})" if isinstance(source, bytes) and cause is not None else ""
    return Refusal(422, f"{name}: found a picture that cannot be decoded{reason}, expected a whole one")
