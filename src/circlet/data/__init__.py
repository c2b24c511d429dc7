"""Labelled images in one split contract, their sources, and decoding.

Every source is a function that returns `Splits`: your own images (`image_folder`, `manifest`), what needs few files or
none (`glyphs`, `omniglot`), and the paper's three tasks, a package each: `face`, `reid` (re-identification) and
`retrieval` (fine-grained). Everything after it knows `ImageSet` and `Splits` only. Sets that are only tested on are
results of their own (`evaluation_sets`); `catalogue` has all by name. Augmentation and batch sampling are not here:
images are decoded in loader workers and augmented in batches on the device.

>>> from circlet.data import glyphs
>>> splits = glyphs()
>>> len(splits.train), splits.query.num_classes
(4320, 108)
"""

from typing import TYPE_CHECKING, Any

from circlet.data.catalogue import DATA_SETS, TrainingSet, open_data_set
from circlet.data.check import check_data_set
from circlet.data.decode import Fit, decode
from circlet.data.evaluation_sets import FacePairs, Identification, Templates, VideoPairs
from circlet.data.every_image import every_image
from circlet.data.face import face_bin, face_records, ijbc, lfw, megaface, ytf
from circlet.data.folder import image_folder
from circlet.data.glyphs import glyphs
from circlet.data.images import DataError, FileReader, ImageSet, Splits, hold_out_classes, split_classes
from circlet.data.manifest import manifest
from circlet.data.omniglot import omniglot
from circlet.data.reid import dukemtmc, market1501, msmt17, vehicleid
from circlet.data.retrieval import cars196, cub200, inshop, sop

if TYPE_CHECKING:
    from circlet.data.decoded import Decoded, DecodedImages, decode_all, find_broken

__all__ = [
    "DATA_SETS",
    "DataError",
    "Decoded",
    "DecodedImages",
    "FacePairs",
    "FileReader",
    "Fit",
    "Identification",
    "ImageSet",
    "Splits",
    "Templates",
    "TrainingSet",
    "VideoPairs",
    "cars196",
    "check_data_set",
    "cub200",
    "decode",
    "decode_all",
    "dukemtmc",
    "every_image",
    "face_bin",
    "face_records",
    "find_broken",
    "glyphs",
    "hold_out_classes",
    "ijbc",
    "image_folder",
    "inshop",
    "lfw",
    "manifest",
    "market1501",
    "megaface",
    "msmt17",
    "omniglot",
    "open_data_set",
    "sop",
    "split_classes",
    "vehicleid",
    "ytf",
]


def __getattr__(name: str) -> Any:
    """Load `decoded`, the part that needs torch, on first use, so that listing data sets stays fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from circlet.data import decoded

    return getattr(decoded, name)
