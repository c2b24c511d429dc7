"""Cars196 (Krause et al. 2013): 196 models of cars, the first 98 to train on, as in Oh Song et al. 2016.

Whole images: the bounding boxes are not used, nor is the official split, which splits images and not classes.
"""

import json
import subprocess
import sys
from pathlib import Path

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import DataError, Splits
from circlet.data.listing import find_folder, listed_images, make_splits, require_files
from circlet.optional import need

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
        annotations = [(prefix + name, number) for name, number in _read(path, field)]
        require_files(folder, [name for name, _ in annotations], path)
        for name, number in annotations:
            if not 1 <= number <= 2 * NUM_TRAIN_CLASSES:
                raise DataError(f"{path}: found class {number} of {name}, expected 1..{2 * NUM_TRAIN_CLASSES}")
            (train if number <= NUM_TRAIN_CLASSES else query).append((f"{number:03d}", name))
    sets = (listed_images(folder, [c for c, _ in part], [name for _, name in part]) for part in (train, query))
    return make_splits(folder, *sets)


def _read(path: Path, field: str) -> list[tuple[str, int]]:
    """(field, class) of each of the `annotations` of a Matlab file.

    Read in a process of its own: SciPy's reader, in C, trusts the lengths in a file, so that a damaged one can end it.
    """
    if not path.is_file():
        raise DataError(f"{path}: found no such list, expected it beside the images")
    need("scipy", "matlab")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _READ, str(path), field], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["its reader crashed"]
        raise DataError(
            f"{path}: found no readable annotations ({reason[0]}), expected {field} and class of each image"
        )
    return [(name, number) for name, number in json.loads(done.stdout)]


_READ = """
import json, sys
import numpy as np
from scipy.io import loadmat
found = np.atleast_1d(loadmat(sys.argv[1], squeeze_me=True)["annotations"])
missing = [name for name in sys.argv[2:] + ["class"] if name not in (found.dtype.names or ())]
if missing:
    sys.exit(f"found the fields {', '.join(found.dtype.names or ())}, without {missing[0]!r}")
print(json.dumps([(str(name), int(number)) for name, number in zip(found[sys.argv[2]], found["class"])]))
"""

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
