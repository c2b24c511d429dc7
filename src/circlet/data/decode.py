"""From image files to uint8 arrays of one size, one image at a time.

Decoding, orientation, transparency, depth, colour and size are settled here; augmentation and normalisation are not:
they happen later, in batches on the device. Whatever is wrong with a file becomes a `DataError` that names it.
"""

import math
import os
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from circlet.data.depth import eight_bit
from circlet.data.images import DataError, ImageSet
from circlet.data.ink import ink_box
from circlet.data.large import LARGE, reduced, turn_of
from circlet.data.open_image import MAX_MEGAPIXELS, TooLargeError, limited
from circlet.data.readers import place_of
from circlet.data.strict import passing_over, strict_warnings
from circlet.data.upright import orientation, turned

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["stretch", "crop", "pad", "ink", "vector"]
"""How an image becomes that size; vector: it is none, but numbers as they are (`circlet.data.vector_reader`)."""
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Pixels = npt.NDArray[np.uint8]

_WHITE = 255
_CANVAS = 1 << 24  # pixels of an image with white around it, as "ink" may need it


class Form(NamedTuple):
    """What images are decoded to; see `decode`."""

    size: tuple[int, int]
    channels: int = 3
    fit: Fit = "stretch"
    interpolation: Interpolation = "bicubic"
    max_megapixels: float = MAX_MEGAPIXELS

    def check(self) -> None:
        """Raise a ValueError that names the argument unless these describe an image that `decode` can make."""
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size: found {self.size}, expected (height, width), both at least 1")
        if self.channels not in (1, 3):
            raise ValueError(f"channels: found {self.channels}, expected 1 or 3")
        if self.fit == "vector":
            raise DataError(f"images: found images, expected vectors of {self.size[1]} numbers: that is what the model "
                            "was trained on (.parquet, .npy, an array)")  # fmt: skip
        if self.fit not in get_args(Fit):
            expected = ", ".join(fit for fit in get_args(Fit) if fit != "vector")
            raise ValueError(f"fit: found {self.fit!r}, expected one of {expected}")
        if self.interpolation not in get_args(Interpolation):
            expected = ", ".join(get_args(Interpolation))
            raise ValueError(f"interpolation: found {self.interpolation!r}, expected one of {expected}")
        if not self.max_megapixels > 0:
            raise ValueError(f"max_megapixels: found {self.max_megapixels}, expected a number above 0")


def decode(
    image_set: ImageSet,
    index: int,
    *,
    size: tuple[int, int],
    channels: int = 3,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bicubic",
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Pixels:
    """Decode one image into uint8 (channels, H, W), with `size` = (H, W).

    >>> from circlet.data import glyphs
    >>> decode(glyphs().train, 0, size=(32, 48), channels=1).shape
    (1, 32, 48)

    `fit`: "stretch" ignores the aspect ratio; "crop" resizes the shorter side and takes the centre; "pad" resizes the
    longer side and pads with white, centred; "ink" cuts a drawing, dark on white, out by its centre of mass and the
    spread of its ink (`circlet.data.ink`). `interpolation`: Pillow's filters, with antialiasing for all but "nearest".
    `max_megapixels`: larger images (width x height / 1e6) are refused; WebP, AVIF and JPEG 2000 from a quarter of it.

    The EXIF orientation is applied; EXIF data that are damaged are passed over. Transparency goes over white, 16-bit
    grey is scaled down to 8 bits. Missing, corrupt, truncated and floating-point files, what is no regular file or of
    no format that is listed (`circlet.data.open_image`), what is too large, all else that Pillow warns of, and boxes
    that do not fit are a DataError. May be called in several threads at once, as far as the set's `read` may.
    """
    form = Form(size, channels, fit, interpolation, max_megapixels)
    form.check()
    return decode_noting(image_set, index, form)[0]


def decode_noting(image_set: ImageSet, index: int, form: Form) -> tuple[Pixels, bool]:
    """What `decode` gives for a form that is sound, and whether damaged EXIF data were passed over."""
    where = image_set.names[index]
    with limited(form.max_megapixels) as limit:
        try:
            where = place_of(image_set.read, index) or where
            with strict_warnings() as notes, image_set.read(index) as image:
                where = os.fspath(getattr(image, "filename", "")) or where
                limit.check(image.width, image.height, "")  # of readers that open images in their own way
                pixels = _fitted(_upright(image, form), form)
        except DataError:  # of a reader, which has named the place
            raise
        except TooLargeError as error:
            raise DataError(f"{where}: {error}") from error
        except MemoryError as error:
            if limit.most_opened < LARGE:
                raise
            raise DataError(
                f"{where}: found {limit.most_opened / 1e6:,.1f} megapixels, for which the memory does not suffice, "
                f"expected fewer, or more memory (--data.max-megapixels refuses such images)"
            ) from error
        except Exception as error:
            raise DataError(f"{where}: found no readable image ({type(error).__name__}: {error})") from error
    return pixels, notes.metadata


def _upright(image: "Image", form: Form) -> "Image":
    """Decode the pixels and return them upright, in mode L or RGB.

    A JPEG is decoded at a half, a quarter or an eighth of its size where no side falls below twice what is asked for;
    other large images are averaged to such a part.
    """
    mode, least = "L" if form.channels == 1 else "RGB", 2 * max(form.size)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range, expected integers of 8 or 16 bits")
    image.draft(mode, (least, least))
    with turn_of(image.size):
        with passing_over():  # damaged pixels are errors; what is warned of is metadata
            image.load()
        stored = orientation(image)
        if image.width * image.height < LARGE:
            image = _in_mode(image, mode)
        else:
            factor = max(1, min(image.size) // least)
            image = reduced(image, factor, lambda strip: _in_mode(strip, mode))
    return turned(image, stored)


def _in_mode(image: "Image", mode: str) -> "Image":
    image = eight_bit(image)
    return image if image.mode == mode else image.convert(mode)


def _fitted(image: "Image", form: Form) -> Pixels:
    """Resize an image of mode L or RGB to the size and return its pixels (channels, height, width)."""
    from PIL import Image

    height, width = form.size
    box, target = (0.0, 0.0, float(image.width), float(image.height)), (width, height)
    if form.fit == "crop":
        scale = max(width / image.width, height / image.height)
        left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
        box = (max(0.0, left), max(0.0, top), min(box[2], image.width - left), min(box[3], image.height - top))
    elif form.fit == "ink":
        image, box = _around_ink(image, max(form.size))
    elif form.fit == "pad":
        scale = min(width / image.width, height / image.height)
        target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    resized = image.resize(target, Image.Resampling[form.interpolation.upper()], box, reducing_gap=2.0)
    pixels = np.asarray(resized).reshape(target[1], target[0], -1).transpose(2, 0, 1)
    if target == (width, height):
        return pixels.copy()
    canvas = np.full((pixels.shape[0], height, width), _WHITE, dtype=np.uint8)
    top, left = (height - target[1]) // 2, (width - target[0]) // 2
    canvas[:, top : top + target[1], left : left + target[0]] = pixels
    return canvas


def _around_ink(image: "Image", target: int) -> "tuple[Image, tuple[float, float, float, float]]":
    """Image with white added where the box around its ink reaches beyond it, and that box.

    Where that would be far more than the box needs for a side of `target` pixels, as around a long line, the image is
    reduced before.
    """
    from PIL import ImageOps

    left, top, right, bottom = ink_box(np.asarray(image.convert("L")))
    border = math.ceil(max(0.0, -left, -top, right - image.width, bottom - image.height))
    factor = int((right - left) / (2 * target))
    if factor > 1 and (image.width + 2 * border) * (image.height + 2 * border) > _CANVAS:
        image, border = _reduced_on_white(image, factor), math.ceil(border / factor)
        left, top, right, bottom = (edge / factor for edge in (left, top, right, bottom))
    box = (left + border, top + border, right + border, bottom + border)
    return ImageOps.expand(image, border, fill="white"), box


def _reduced_on_white(image: "Image", factor: int) -> "Image":
    """The image with each side divided by `factor` and rounded up, pixels averaged, as if white went on beyond it."""
    from PIL import Image

    ink = 255.0 - np.asarray(image.reduce(factor))
    ink[-1] *= (image.height - 1) % factor / factor + 1 / factor  # how far the last row and column are filled
    ink[:, -1] *= (image.width - 1) % factor / factor + 1 / factor
    return Image.fromarray((255 - ink).round().astype(np.uint8))
