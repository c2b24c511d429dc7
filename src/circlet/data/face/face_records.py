"""insightface's training sets (CASIA-WebFace, MS1MV2, Glint360K, ...): train.rec, train.idx and property.

Opening one reads the index and one short record for each person, not the images.
"""

from pathlib import Path

import numpy as np

from circlet.data.data_set import INSIGHTFACE, DataSet
from circlet.data.face.recordio import RecordFile, RecordReader, read_index
from circlet.data.images import DataError, ImageSet, Ints, Splits
from circlet.data.listing import find_folder, read_lines, split_by_classes

LAYOUT = """\
ROOT/ or ROOT/faces_emore/, ROOT/faces_webface_112x112/
  train.rec                    records with a JPEG each; record 0: (first record of a person, end)
  train.idx                    key<tab>byte offset
  property                     number of persons, height, width: 85742,112,112 (may be absent)"""


_EXACT = 1 << 24  # above it the float32 that keys and persons are stored in is a multiple of 2, 4, ...
_MOST_KEY = 1 << 53


def face_records(root: str | Path, *, held_out: float = 0.01, seed: int = 0) -> Splits:
    """Read an insightface training set: all persons train but a few, whose images search each other.

    `held_out` and `seed` are as in `split_classes`: the fraction of the persons or, from 1 on, their number. Faces are
    usually tested on other sets (`face_bin`, `ijbc`, ...). A class is a person's number. A missing or malformed index,
    a damaged record and a number of persons other than in `property` are a DataError.
    """
    return split_by_classes(Path(root), record_set(root), held_out, seed)


def record_set(root: str | Path) -> ImageSet:
    """All images of train.rec, with the person of each; see `face_records`."""
    folder = find_folder(root, "train.idx", "faces_emore", "faces_webface_112x112")
    keys, offsets = read_index(folder / "train.idx")
    file = RecordFile(str(folder / "train.rec"))
    file.require_within(keys, offsets)
    first, end = _persons(file, keys, offsets)
    if end > _EXACT:
        first, end = _next_person(file, keys, offsets, first), int(keys[-1]) + 1
    is_image = (keys != 0) & (keys < first) if end else np.ones(len(keys), bool)
    image_keys, image_offsets = keys[is_image], offsets[is_image]
    is_person = (keys >= first) & (keys < end)
    persons = _from_persons(file, keys[is_person], offsets[is_person], image_keys) if is_person.any() else None
    if persons is None:
        persons = _from_images(file, image_keys, image_offsets)
    present, labels = np.unique(persons, return_inverse=True)
    _check_property(folder / "property", len(present))
    names = tuple(map(str, image_keys.tolist()))
    return ImageSet(labels, tuple(map(str, present.tolist())), names, RecordReader(file, image_keys, image_offsets))


def _persons(file: RecordFile, keys: Ints, offsets: Ints) -> tuple[int, int]:
    """Keys of the first record of a person and after the last; (0, 0) if record 0 says nothing of them."""
    if not keys.size or keys[0] != 0:
        return 0, 0
    offset = int(offsets[0])
    header = file.read(0, offset)
    if header.flag != 2 or header.image:
        return 0, 0
    first, end = (file.integer(0, offset, label, _MOST_KEY) for label in header.labels)
    return first, end


def _next_person(file: RecordFile, keys: Ints, offsets: Ints, rounded: int) -> int:
    """Key of the first record of a person, of which only the rounded value is known."""
    near = (keys >= rounded - 8) & (keys <= rounded + 8)  # up to 2^27 keys
    for key, offset in zip(keys[near].tolist(), offsets[near].tolist(), strict=True):
        record = file.read(key, offset)
        if record.flag == 2 and not record.image:
            return int(key)
    raise DataError(f"{file.path}: found no record of a person near key {rounded}, expected the first as in record 0")


def _from_persons(file: RecordFile, keys: Ints, offsets: Ints, image_keys: Ints) -> Ints | None:
    """Number of the person of each image, from the record of each person: (its first image, end).

    None if these do not cover the images once, or may have been rounded.
    """
    bounds = []
    for key, offset in zip(keys.tolist(), offsets.tolist(), strict=True):
        labels = file.read(key, offset, labels_only=True).labels
        if len(labels) < 2:
            return None
        bounds.append([file.integer(key, offset, label, _MOST_KEY) for label in labels[:2]])
    starts, ends = np.array(bounds, dtype=np.int64).T
    if ends.max() > _EXACT:
        return None
    persons = np.searchsorted(starts, image_keys, side="right") - 1
    tiles = (starts[1:] == ends[:-1]).all() and (starts <= ends).all()
    covers = image_keys.size > 0 and starts[0] <= image_keys[0] and image_keys[-1] < ends[-1]
    return persons if tiles and covers else None


def _from_images(file: RecordFile, keys: Ints, offsets: Ints) -> Ints:
    """Number of the person of each image, from the label of each: slow, as it touches every record."""
    from tqdm import tqdm

    places = zip(keys.tolist(), offsets.tolist(), strict=True)
    bar = tqdm(places, total=len(keys), desc="labels", unit="record", disable=None)
    persons = np.empty(len(keys), dtype=np.int64)
    for row, (key, offset) in enumerate(bar):
        label = file.read(key, offset, labels_only=True).labels[0]
        persons[row] = file.integer(key, offset, label, _EXACT)
    return persons


def _check_property(path: Path, num_classes: int) -> None:
    if not path.is_file():
        return
    line = read_lines(path, 3, separator=",")[0]
    if line.integer(0) != num_classes:
        raise DataError(f"{line.where}: found {line.cells[0]} persons, expected {num_classes} as in train.rec")


MS1MV2 = DataSet(
    name="ms1mv2",
    title="MS1MV2 (faces_emore), aligned faces",
    task="face training",
    load=face_records,
    counts={"images": 5_822_653, "classes": 85_742},
    source=INSIGHTFACE,
    licence="non-commercial research only; Microsoft withdrew MS-Celeb-1M in 2019",
    layout=LAYOUT,
)


CASIA_WEBFACE = DataSet(
    name="casia-webface",
    title="CASIA-WebFace (faces_webface_112x112), aligned faces",
    task="face training",
    load=face_records,
    counts={"images": 490_623, "classes": 10_572},
    source=INSIGHTFACE,
    licence="non-commercial research only",
    layout=LAYOUT,
)
