"""insightface's verification files (lfw.bin, agedb_30.bin, cfp_fp.bin, ...): pairs of aligned faces in one pickle.

The pickle is read by `read_plain_pickle`, which runs nothing of it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circlet.data.data_set import INSIGHTFACE, DataSet
from circlet.data.evaluation_sets import FacePairs
from circlet.data.face.plain_pickle import read_plain_pickle
from circlet.data.images import DataError, ImageSet
from circlet.data.open_image import open_image

if TYPE_CHECKING:
    from PIL.Image import Image

LAYOUT = """\
PATH is the file {name}.bin or a folder that has it: a pickle of (2 N encoded images, N times same or not)"""


def face_bin(path: str | Path, *, name: str | None = None, num_folds: int = 10) -> FacePairs:
    """Read a verification file; pair i is images 2i and 2i + 1.

    `path` is the file, or the folder of the file `name`.bin. Images are bytes or uint8 arrays of them, and stay encoded
    in memory. The persons are unknown: each image is a class of its own. A pickle that holds anything else than such
    images and flags is a DataError and runs nothing; so are counts that do not match.
    """
    path = Path(path)
    if name is not None and path.is_dir():
        path = path / f"{name}.bin"
    content = read_plain_pickle(path)
    if not isinstance(content, list) or len(content) != 2 or not isinstance(content[0], list):
        raise DataError(f"{path}: found another content than (images, flags)")
    flags = content[1].ravel().tolist() if isinstance(content[1], np.ndarray) else content[1]
    if not isinstance(flags, list) or any(flag not in (0, 1) for flag in flags):
        raise DataError(f"{path}: found flags other than true and false, expected one for each pair")
    if len(content[0]) != 2 * len(flags) or not flags:
        raise DataError(f"{path}: found {len(content[0])} images for {len(flags)} pairs, expected two for each")
    made: dict[int, bytes] = {}  # one array may stand for many images
    for index, image in enumerate(content[0]):
        if id(image) not in made:
            made[id(image)] = _encoded(path, index, image)
    encoded = tuple(made[id(image)] for image in content[0])
    names = tuple(f"{path.name}/{index:05d}" for index in range(len(encoded)))
    images = ImageSet(np.arange(len(names)), names, names, BytesReader(encoded))
    try:
        return FacePairs(images, np.arange(len(names)).reshape(-1, 2), np.array(flags, dtype=bool), num_folds)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _encoded(path: Path, index: int, image: Any) -> bytes:
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        return image.tobytes()
    if isinstance(image, bytes) and image:
        return image
    raise DataError(f"{path}, image {index}: found {type(image).__name__}, expected bytes or a uint8 array of them")


@dataclass(frozen=True)
class BytesReader:
    """Reader of images encoded in memory."""

    encoded: tuple[bytes, ...] = field(repr=False)

    def __call__(self, index: int) -> "Image":
        """Return image `index`, not decoded yet."""
        return open_image(self.encoded[index])


def _entry(name: str, file: str, title: str, num_pairs: int) -> DataSet:
    return DataSet(
        name=name,
        title=f"{title}, aligned, as {file}.bin",
        task="face verification",
        load=face_bin,
        options={"name": file},
        counts={"images": 2 * num_pairs, "pairs": num_pairs, "same pairs": num_pairs // 2, "folds": 10},
        source=INSIGHTFACE,
        licence="non-commercial research only",
        layout=LAYOUT.format(name=file),
    )


LFW_BIN = _entry("lfw-bin", "lfw", "Labeled Faces in the Wild, view 2", 6_000)
AGEDB_30 = _entry("agedb-30", "agedb_30", "AgeDB-30", 6_000)
CFP_FP = _entry("cfp-fp", "cfp_fp", "CFP, frontal to profile", 7_000)
