"""Labelled images in one split contract, their sources, and decoding.

>>> from circlet.data import glyphs
>>> splits = glyphs()
>>> len(splits.train), splits.query.num_classes
(4320, 108)

Every source is a function that returns `Splits`: your own images (`image_folder`, `manifest`, `shards`), what needs few
files or none (`glyphs`, `omniglot`), and the paper's three tasks, a package each: `face`, `reid` (re-identification)
and `retrieval` (fine-grained). A function of yours is a source too (`DataSet`, `open_data_set`). Everything after it
knows `ImageSet` and `Splits` only; of shards (`streams`) training never asks for the list of images. Sets that are only
tested on are results of their own (`evaluation_sets`); `catalogue` has all by name.

In the place of images there may be vectors (`vectors` reads them from a file, `vector_set` takes an array).

An image may be a part of a file (`boxes`), and have a camera, a group, a time and a category. Splits respect them: by
classes (`hold_out_classes`, `fold_classes`), by images (`hold_out_images`), by time (`split_by_time`). `straddling`
says what lies on both sides of one.

`decode` says what an image becomes; `pixels` and `query_gallery` make the images of whole sets ready. Batch sampling
and augmentation are not here: images are decoded in loader workers and augmented in batches on the device
(`circlet.training.image_batches`, `circlet.augment`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from circlet.data.catalogue import DATA_SETS, open_data_set
from circlet.data.check import check_data_set
from circlet.data.content import content_digest
from circlet.data.data_set import DataSet
from circlet.data.decode import Fit, Interpolation, decode
from circlet.data.evaluation_sets import FacePairs, Identification, Templates, VideoPairs
from circlet.data.every_image import every_image, images_to_test
from circlet.data.face import face_bin, face_records, ijbc, lfw, megaface, ytf
from circlet.data.folder import image_folder
from circlet.data.folds import fold_classes, hold_out_images
from circlet.data.glyphs import glyphs
from circlet.data.images import JUNK, DataError, FileReader, ImageSet, Splits, hold_out_classes, split_classes
from circlet.data.manifest import manifest
from circlet.data.omniglot import omniglot
from circlet.data.reid import dukemtmc, market1501, msmt17, vehicleid
from circlet.data.retrieval import cars196, cub200, inshop, sop
from circlet.data.straddling import straddling
from circlet.data.streams import shards
from circlet.data.time_split import split_by_time
from circlet.data.vector_reader import vector_set
from circlet.data.vector_sets import vectors

if TYPE_CHECKING:
    from circlet.data.decoded import Decoded, DecodedImages, decode_all, find_broken
    from circlet.data.pixels import Decoding, Pixels, load_pixels
    from circlet.data.query_gallery import TestSet, load_test_set

__all__ = [
    "DATA_SETS",
    "JUNK",
    "DataError",
    "DataSet",
    "Decoded",
    "DecodedImages",
    "Decoding",
    "FacePairs",
    "FileReader",
    "Fit",
    "Identification",
    "ImageSet",
    "Interpolation",
    "Pixels",
    "Splits",
    "Templates",
    "TestSet",
    "VideoPairs",
    "cars196",
    "check_data_set",
    "content_digest",
    "cub200",
    "decode",
    "decode_all",
    "dukemtmc",
    "every_image",
    "face_bin",
    "face_records",
    "find_broken",
    "fold_classes",
    "glyphs",
    "hold_out_classes",
    "hold_out_images",
    "ijbc",
    "image_folder",
    "images_to_test",
    "inshop",
    "lfw",
    "load_pixels",
    "load_test_set",
    "manifest",
    "market1501",
    "megaface",
    "msmt17",
    "omniglot",
    "open_data_set",
    "shards",
    "sop",
    "split_by_time",
    "split_classes",
    "straddling",
    "vector_set",
    "vectors",
    "vehicleid",
    "ytf",
]


# What needs torch is loaded on first use, so that listing data sets stays fast.
_WITH_TORCH = {
    **dict.fromkeys(("Decoded", "DecodedImages", "decode_all", "find_broken"), "circlet.data.decoded"),
    **dict.fromkeys(("Decoding", "Pixels", "load_pixels"), "circlet.data.pixels"),
    **dict.fromkeys(("TestSet", "load_test_set"), "circlet.data.query_gallery"),
}


def __getattr__(name: str) -> Any:
    """Load a part that needs torch."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WITH_TORCH[name]), name)
