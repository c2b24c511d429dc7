"""From image files to uint8 arrays of one size, one image at a time.

Decoding, orientation, transparency, depth, colour and size are settled here; augmentation and normalisation are not:
they happen later, in batches on the device. Whatever is wrong with a file becomes a `DataError` that names it.
"""

import math
import os
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from circlet.data.boxes import BoxError
from circlet.data.images import DataError, ImageSet
from circlet.data.ink import ink_box
from circlet.data.strict import strict_warnings

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["stretch", "crop", "pad", "ink"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Pixels = npt.NDArray[np.uint8]

_ORIENTATION_TAG = 0x0112
_WHITE = 255


def check_form(size: tuple[int, int], channels: int, fit: Fit, interpolation: Interpolation = "bicubic") -> None:
    """Raise a ValueError that names the argument unless these describe an image that `decode` can make."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size: found {size}, expected (height, width), both at least 1")
    if channels not in (1, 3):
        raise ValueError(f"channels: found {channels}, expected 1 or 3")
    if fit not in get_args(Fit):
        raise ValueError(f"fit: found {fit!r}, expected one of {', '.join(get_args(Fit))}")
    if interpolation not in get_args(Interpolation):
        expected = ", ".join(get_args(Interpolation))
        raise ValueError(f"interpolation: found {interpolation!r}, expected one of {expected}")


def decode(
    image_set: ImageSet,
    index: int,
    *,
    size: tuple[int, int],
    channels: int = 3,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bicubic",
) -> Pixels:
    """Decode one image into uint8 (channels, H, W), with `size` = (H, W).

    >>> from circlet.data import glyphs
    >>> decode(glyphs().train, 0, size=(32, 48), channels=1).shape
    (1, 32, 48)

    `fit`: "stretch" ignores the aspect ratio; "crop" resizes the shorter side and takes the centre; "pad" resizes the
    longer side and pads with white, centred; "ink" cuts a drawing, dark on white, out by its centre of mass and the
    spread of its ink (`circlet.data.ink`). `interpolation`: Pillow's filters, with antialiasing for all but "nearest".
    The EXIF orientation is applied, transparency goes over white, 16-bit grey is scaled down to 8 bits. Missing,
    corrupt, truncated and floating-point files, decompression bombs, all else that Pillow warns of, and boxes that do
    not fit are a DataError. May be called in several threads at once, as far as the set's `read` may.
    """
    check_form(size, channels, fit, interpolation)
    height, width = size
    where = image_set.names[index]
    try:
        with strict_warnings(), image_set.read(index) as image:
            where = os.fspath(getattr(image, "filename", "") or where)
            return _fitted(_upright(image, 2 * max(size), channels), height, width, fit, interpolation)
    except (MemoryError, BoxError):
        raise
    except Exception as error:
        raise DataError(f"{where}: found no readable image ({type(error).__name__}: {error})") from error


def _upright(image: "Image", least: int, channels: int) -> "Image":
    """Decode the pixels and return them upright, in mode L or RGB.

    A JPEG is decoded at a half, a quarter or an eighth of its size where no side falls below `least`.
    """
    from PIL import ImageOps

    mode = "L" if channels == 1 else "RGB"
    image.draft(mode, (least, least))
    image.load()
    if image.getexif().get(_ORIENTATION_TAG, 1) != 1:
        image = ImageOps.exif_transpose(image)
    image = _eight_bit(image)
    return image if image.mode == mode else image.convert(mode)


def _eight_bit(image: "Image") -> "Image":
    """Return the image with 8 bits a channel and without transparency."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range, expected integers of 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError(f"pixels from {values.min()} to {values.max()}, expected at most 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image


def _fitted(image: "Image", height: int, width: int, fit: Fit, interpolation: Interpolation) -> Pixels:
    """Resize an image of mode L or RGB to (height, width) and return its pixels (channels, height, width)."""
    from PIL import Image

    box, target = (0.0, 0.0, float(image.width), float(image.height)), (width, height)
    if fit == "crop":
        scale = max(width / image.width, height / image.height)
        left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
        box = (max(0.0, left), max(0.0, top), min(box[2], image.width - left), min(box[3], image.height - top))
    elif fit == "ink":
        image, box = _around_ink(image)
    elif fit == "pad":
        scale = min(width / image.width, height / image.height)
        target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resized = image.resize(target, Image.Resampling[interpolation.upper()], box, reducing_gap=2.0)
    pixels = np.asarray(resized).reshape(target[1], target[0], -1).transpose(2, 0, 1)
    if target == (width, height):
        return pixels.copy()
    canvas = np.full((pixels.shape[0], height, width), _WHITE, dtype=np.uint8)
    top, left = (height - target[1]) // 2, (width - target[0]) // 2
    canvas[:, top : top + target[1], left : left + target[0]] = pixels
    return canvas


def _around_ink(image: "Image") -> "tuple[Image, tuple[float, float, float, float]]":
    """Image with white added where the box around its ink reaches beyond it, and that box."""
    from PIL import ImageOps

    left, top, right, bottom = ink_box(np.asarray(image.convert("L")))
    border = math.ceil(max(0.0, -left, -top, right - image.width, bottom - image.height))
    box = (left + border, top + border, right + border, bottom + border)
    return ImageOps.expand(image, border, fill="white"), box
