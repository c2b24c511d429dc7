"""MSMT17 (Wei et al. 2018), versions 1 and 2: no junk, no distractors, cameras 1 to 15."""

import re
from collections.abc import Sequence
from pathlib import Path

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import DataError, ImageSet, Splits
from circlet.data.listing import find_folder, listed_images, make_splits, read_lines, require_files

FOLDERS = {"train": "test", "mask_train_v2": "mask_test_v2"}  # of version 1 and of version 2, with masked faces
_CAMERA = re.compile(r"\d{1,18}", re.ASCII)
LAYOUT = """\
ROOT/ or ROOT/MSMT17_V1/, ROOT/MSMT17_V2/, ROOT/MSMT17/
  list_train.txt               0000/0000_000_01_0303morning_0008_0.jpg 0   (camera 01, id 0)
  list_val.txt, list_query.txt, list_gallery.txt
  train/0000/*.jpg             version 2: mask_train_v2/
  test/0000/*.jpg              version 2: mask_test_v2/"""


def msmt17(root: str | Path, *, train_lists: Sequence[str] = ("train", "val")) -> Splits:
    """Read MSMT17; which of the lists "train" and "val" train is a choice that papers make differently.

    The default, both, is the training set of 32,621 images; ("train",) alone, the data set "msmt17-train" of the
    catalogue, has 30,248, of the same 1,041 persons. Ids start from 0 in either
    part: class names are "0000" in the test and "train/0000" in training, as these are different people. A missing or
    malformed list, listed images that are not there and another form of name are a DataError.
    """
    if not train_lists or not set(train_lists) <= {"train", "val"}:
        raise ValueError(f"train_lists: found {train_lists!r}, expected one or both of train, val")
    folder = find_folder(root, "list_train.txt", "MSMT17_V2", "MSMT17_V1", "MSMT17")
    train = next((name for name in FOLDERS if (folder / name).is_dir()), None)
    if train is None:
        raise DataError(f"{folder}: found none of the folders {', '.join(FOLDERS)}, expected one with the images")
    query, gallery = (_read(folder, (name,), FOLDERS[train], "") for name in ("query", "gallery"))
    return make_splits(folder, _read(folder, train_lists, train, "train/"), query, gallery)


def _read(folder: Path, lists: Sequence[str], images: str, prefix: str) -> ImageSet:
    ids, names, cameras = [], [], []
    for path in (folder / f"list_{name}.txt" for name in lists):
        listed, numbers = [], []
        for line in read_lines(path, 2):
            parts = line.cells[0].rsplit("/", 1)[-1].split("_")
            if len(parts) < 4 or not _CAMERA.fullmatch(parts[2]):
                raise DataError(f"{line.where}: found {line.cells[0]!r}, expected ID/ID_NUMBER_CAMERA_....jpg, the "
                                "camera of at most 18 digits")  # fmt: skip
            ids.append(f"{prefix}{line.integer(1):04d}")
            cameras.append(int(parts[2]))
            listed.append(f"{images}/{line.cells[0]}")
            numbers.append(line.number)
        require_files(folder, listed, path, numbers)
        names += listed
    return listed_images(folder, ids, names, cameras)


def _entry(name: str, title: str, num_train: int, train_lists: tuple[str, ...]) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        task="re-identification",
        load=msmt17,
        options={"train_lists": train_lists},
        counts=role_counts((num_train, 1_041), (11_659, 3_060), (82_161, 3_060)),
        source="https://www.pkuvmc.com/dataset.html",
        licence="research only, by agreement with Peking University",
        layout=LAYOUT,
    )


MSMT17 = _entry("msmt17", "MSMT17, persons", 32_621, ("train", "val"))
MSMT17_TRAIN = _entry("msmt17-train", "MSMT17, persons, trained on list_train.txt alone", 30_248, ("train",))
