"""PKU VehicleID (Liu et al. 2016): vehicles on roads, test lists of four sizes, and a gallery drawn by lot.

There are no cameras: the protocol is a gallery of one random image per vehicle, averaged over ten draws.
"""

from pathlib import Path

import numpy as np

from circlet.data.data_set import DataSet
from circlet.data.images import ImageSet, Splits
from circlet.data.listing import find_folder, listed_images, make_splits, read_lines, require_files

SIZES = (800, 1600, 2400, 13164)
NUM_REPEATS = 10
LAYOUT = """\
ROOT/ or ROOT/VehicleID/, ROOT/VehicleID_V1.0/
  train_test_split/train_list.txt         0000001 3   (image, vehicle)
  train_test_split/test_list_800.txt      and 1600, 2400, 13164
  image/0000001.jpg"""


def vehicleid(root: str | Path, *, size: int = 800, repeat: int = 0, seed: int = 0) -> Splits:
    """Read VehicleID with the test list of `size` vehicles.

    One image of each vehicle, drawn at random for `seed` and `repeat` (0..9), is the gallery; all the others are
    queries. The protocol is the mean over the repeats. Class names are the vehicle ids. A missing or malformed list,
    listed images that are not there and a vehicle both in train and test are a DataError.
    """
    if size not in SIZES:
        raise ValueError(f"size: found {size}, expected one of {', '.join(map(str, SIZES))}")
    if not 0 <= repeat < NUM_REPEATS:
        raise ValueError(f"repeat: found {repeat}, expected 0..{NUM_REPEATS - 1}")
    folder = find_folder(root, "train_test_split", "VehicleID", "VehicleID_V1.0")
    train, test = (_read(folder, f"train_test_split/{name}.txt") for name in ("train_list", f"test_list_{size}"))
    order = np.random.default_rng((seed, repeat)).permutation(len(test))
    chosen = order[np.unique(test.labels[order], return_index=True)[1]]
    is_gallery = np.isin(np.arange(len(test)), chosen)
    query, gallery = (test.subset(np.flatnonzero(part)) for part in (~is_gallery, is_gallery))
    return make_splits(folder / f"train_test_split/test_list_{size}.txt", train, query, gallery)


def _read(folder: Path, name: str) -> ImageSet:
    lines = read_lines(folder / name, 2)
    paths = [f"image/{line.cells[0]}.jpg" for line in lines]
    require_files(folder, paths, folder / name, [line.number for line in lines])
    return listed_images(folder, [str(line.integer(1)) for line in lines], paths)


def _entry(size: int, num_images: int) -> DataSet:
    return DataSet(
        name=f"vehicleid-{size}",
        title=f"PKU VehicleID, {size} test vehicles",
        task="re-identification",
        load=vehicleid,
        options={"size": size},
        counts={
            "train images": 113_346,
            "train classes": 13_164,
            "query images": num_images - size,
            "gallery images": size,
            "gallery classes": size,
        },
        source="https://www.pkuml.org/resources/pku-vehicleid.html",
        licence="research only, on request to Peking University",
        layout=LAYOUT,
    )


VEHICLEID = tuple(map(_entry, SIZES, (6_493, 13_377, 19_777, 108_221)))
