"""Opening an image, whatever it is called: raster formats that are listed, up to a size; no pixel is decoded yet.

`Image.open` would try all that Pillow knows (EPS goes to Ghostscript), and its limit of 179 megapixels is a number that
the whole process shares, while phones take 200. So the plugins are asked here one by one, and the limit is that of the
thread that asks.
"""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from circlet.data.regular import open_regular
from circlet.data.signatures import NUM_BYTES, raster_format
from circlet.data.strict import passing_over

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_MEGAPIXELS = 256.0
_PLUGINS = {"JPEG": "Jpeg", "PNG": "Png", "WEBP": "WebP", "GIF": "Gif", "BMP": "Bmp", "TIFF": "Tiff", "PPM": "Ppm",
            "AVIF": "Avif", "JPEG2000": "Jpeg2K"}  # fmt: skip
FORMATS = tuple(_PLUGINS)
"""The formats that are read, as Pillow calls them."""
# Decoders that hold the pixels several times; and one in Python, which a short file could keep busy for minutes.
_SHARES = {"WEBP": 4, "AVIF": 4, "JPEG2000": 4, "bmp_rle": 64}

_NEEDED_TAGS = {258: "BitsPerSample", 259: "Compression", 262: "PhotometricInterpretation"}


class TooLargeError(ValueError):
    """An image of more pixels than the limit; the message does not name the file."""


class Limit:
    """How many megapixels are allowed, and the most pixels that were opened so far."""

    def __init__(self, megapixels: float) -> None:
        self.megapixels, self.most_opened = megapixels, 0

    def check(self, width: int, height: int, kind: str) -> None:
        """TooLargeError unless an image of that format or decoder is within the limit."""
        self.most_opened = max(self.most_opened, width * height)
        share = _SHARES.get(kind, 1)
        allowed = self.megapixels / share
        if width * height > allowed * 1e6:
            of_kind = f", the limit by {share} for {kind}" if share > 1 else ""
            raise TooLargeError(
                f"found {width} x {height} pixels ({width * height / 1e6:,.1f} megapixels), expected at most "
                f"{allowed:g} megapixels{of_kind} (--data.max-megapixels {self.megapixels:g})"
            )


_limit: ContextVar[Limit | None] = ContextVar("limit", default=None)


@contextmanager
def limited(megapixels: float) -> Iterator[Limit]:
    """Within it, in this thread, `open_image` allows that many megapixels; MAX_MEGAPIXELS elsewhere."""
    limit = Limit(megapixels)
    token = _limit.set(limit)
    try:
        yield limit
    finally:
        _limit.reset(token)


def open_image(source: str | Path | bytes) -> "ImageFile":
    """Open the file at a path, or the bytes of one. It stays open until the image is loaded or closed.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2)).save(file, "PNG")
    >>> open_image(file.getvalue()).size
    (3, 2)

    The format is told by the content. A ValueError for what is no regular file, no image of FORMATS, or too large; the
    message does not name the file. Damage beyond the first bytes shows in other ways, when it is opened or decoded.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    try:
        image = _opened(file)
        limit = _limit.get() or Limit(MAX_MEGAPIXELS)
        for kind in (image.format or "", *(tile[0] for tile in image.tile[:1])):
            limit.check(image.width, image.height, kind)
    except BaseException:
        file.close()
        raise
    image._exclusive_fp = True  # as `Image.open` does: who loads or closes the image closes the file
    return image


def _opened(file: IO[bytes]) -> "ImageFile":
    start = file.read(NUM_BYTES)
    found = raster_format(start)
    for kind in FORMATS if found != "HEIC" else ():
        factory, accept = _plugin(kind)
        accepted = accept(start)
        if isinstance(accepted, str):
            raise ValueError(accepted)  # of a decoder that is not there
        if not accepted:
            continue
        file.seek(0)
        try:
            with passing_over() as notes:  # it is metadata that Pillow warns of here
                image: ImageFile = factory(file, "")  # with the path it might map the file: a cut would be the end
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # plugins say so that they cannot read it
            raise ValueError(f"found a damaged {kind} ({error}), expected an image") from error
        if kind == "TIFF" and notes.metadata:
            _require_tags(image)
        return image
    raise ValueError(f"found {found or 'another format'}, expected one of {', '.join(FORMATS)}")


def _require_tags(image: Any) -> None:
    """ValueError unless a TIFF has the tags that its pixels need: Pillow takes others for those that it cannot read."""
    missing = [name for tag, name in _NEEDED_TAGS.items() if tag not in image.tag_v2]
    if missing:
        raise ValueError(f"found a damaged TIFF (no readable {', '.join(missing)}), expected an image")


@cache
def _plugin(kind: str) -> tuple[Any, Callable[[bytes], bool | str]]:
    """How Pillow makes an image of that kind from a file, and what says whether it may be one by its first bytes."""
    from PIL import Image

    try:
        module = import_module(f"PIL.{_PLUGINS[kind]}ImagePlugin")
    except ImportError:  # AVIF before Pillow 11.3
        return None, lambda start: False
    factory, accept = Image.OPEN[kind]
    assert accept is not None
    # Pillow's factory looks for the further pictures of an MPO, and stumbles over damage in their list.
    return (module.JpegImageFile if kind == "JPEG" else factory), accept
