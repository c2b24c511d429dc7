"""Labelled images in one split contract, their sources, and decoding.

Every source (`glyphs`, `omniglot`, `image_folder`, `manifest`) is a function that returns `Splits`; everything after it
knows `ImageSet` and `Splits` only. Augmentation and batch sampling are not here: images are decoded in loader workers
and augmented in batches on the device.

>>> from circlet.data import glyphs
>>> splits = glyphs()
>>> len(splits.train), splits.query.num_classes
(4320, 108)
"""

from typing import TYPE_CHECKING, Any

from circlet.data.decode import Fit, decode
from circlet.data.every_image import every_image
from circlet.data.folder import image_folder
from circlet.data.glyphs import glyphs
from circlet.data.images import DataError, FileReader, ImageSet, Splits, hold_out_classes, split_classes
from circlet.data.manifest import manifest
from circlet.data.omniglot import omniglot

if TYPE_CHECKING:
    from circlet.data.decoded import Decoded, DecodedImages, decode_all, find_broken

__all__ = [
    "DataError",
    "Decoded",
    "DecodedImages",
    "FileReader",
    "Fit",
    "ImageSet",
    "Splits",
    "decode",
    "decode_all",
    "every_image",
    "find_broken",
    "glyphs",
    "hold_out_classes",
    "image_folder",
    "manifest",
    "omniglot",
    "split_classes",
]


def __getattr__(name: str) -> Any:
    """Load `decoded`, the part that needs torch, on first use, so that listing data sets stays fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from circlet.data import decoded

    return getattr(decoded, name)
