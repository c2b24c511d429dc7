"""Cars196 (Krause et al. 2013): 196 models of cars, the first 98 to train on, as in Oh Song et al. 2016.

Whole images: the bounding boxes are not used, nor is the official split, which splits images and not classes.
"""

from pathlib import Path
from typing import Any

import numpy as np

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import DataError, Splits
from circlet.data.listing import find_folder, listed_images, make_splits, require_files

NUM_TRAIN_CLASSES = 98
LAYOUT = """\
ROOT/ or ROOT/cars196/, ROOT/stanford_cars/, in one of two forms:
  cars_annos.mat               annotations: relative_im_path, bbox_x1 .. bbox_y2, class, test
  car_ims/*.jpg
or
  devkit/cars_train_annos.mat  annotations: bbox_x1 .. bbox_y2, class, fname
  cars_train/*.jpg
  cars_test_annos_withlabels.mat, here or in devkit/
  cars_test/*.jpg"""


def cars196(root: str | Path) -> Splits:
    """Read Cars196: classes 1 to 98 train, every image of the others searches all of theirs.

    `root` has cars_annos.mat, or the newer pair of lists of which the union is split anew. A class is its number, with
    three digits. A missing, broken or unlabelled list, listed images that are not there and a class outside 1..196
    are a DataError.
    """
    nested = ("cars196", "stanford_cars")
    if any((Path(root) / name / "cars_annos.mat").is_file() for name in (".", *nested)):
        folder = find_folder(root, "cars_annos.mat", *nested)
        lists = {folder / "cars_annos.mat": ("relative_im_path", "")}
    else:
        folder = find_folder(root, "devkit", *nested)
        test = "cars_test_annos_withlabels.mat"
        test_list = folder / test if (folder / test).is_file() else folder / "devkit" / test
        lists = {
            folder / "devkit" / "cars_train_annos.mat": ("fname", "cars_train/"),
            test_list: ("fname", "cars_test/"),
        }
    train: list[tuple[str, str]] = []
    query: list[tuple[str, str]] = []
    for path, (field, prefix) in lists.items():
        annotations = _read(path, field)
        names = [prefix + str(name) for name in annotations[field]]
        require_files(folder, names, path)
        for name, number in zip(names, annotations["class"].astype(int), strict=True):
            if not 1 <= number <= 2 * NUM_TRAIN_CLASSES:
                raise DataError(f"{path}: found class {number} of {name}, expected 1..{2 * NUM_TRAIN_CLASSES}")
            (train if number <= NUM_TRAIN_CLASSES else query).append((f"{number:03d}", name))
    sets = (listed_images(folder, [c for c, _ in part], [name for _, name in part]) for part in (train, query))
    return make_splits(folder, *sets)


def _read(path: Path, field: str) -> Any:
    """The structured array `annotations` of a Matlab file, with `field` and class."""
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path}: found no such list, expected it beside the images")
    try:
        annotations = np.atleast_1d(loadmat(path, squeeze_me=True)["annotations"])
    except Exception as error:  # the reader of Matlab files fails in many ways
        raise DataError(f"{path}: found no readable annotations ({type(error).__name__}: {error})") from error
    fields = annotations.dtype.names or ()
    for name in (field, "class"):
        if name not in fields:
            raise DataError(f"{path}: found the fields {', '.join(fields)}, without {name!r}, expected it")
    return annotations


CARS196 = DataSet(
    name="cars196",
    title="Cars196, cars",
    task="retrieval",
    load=cars196,
    counts=role_counts((8_054, 98), (8_131, 98)),
    source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    licence="non-commercial research and education",
    layout=LAYOUT,
)
