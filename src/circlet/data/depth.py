"""Pixels of other depths, and transparent ones, as 8 bits a channel and opaque; colours stay what they are."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def eight_bit(image: "Image.Image") -> "Image.Image":
    """The image with 8 bits a channel, 16-bit grey scaled down, and over white where it is transparent.

    >>> from PIL import Image
    >>> eight_bit(Image.new("I;16", (1, 1), 0x1234)).getpixel((0, 0)) == 0x12
    True

    Black and white, palettes and floating point stay. A ValueError for grey of more than 16 bits.
    """
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError(f"pixels from {values.min()} to {values.max()}, expected at most 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image


def averageable(image: "Image.Image") -> "Image.Image":
    """The image in a mode whose pixels have a mean: L, RGB, or F as it is. Errors as of `eight_bit`."""
    image = eight_bit(image)
    if image.mode in ("L", "RGB", "F"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")
