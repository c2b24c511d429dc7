"""Market-1501 (Zheng et al. 2015), and DukeMTMC-reID (Zheng et al. 2017) in the same form: id and camera in the name.

Junk (-1) and distractors (0000) of Market-1501 stay in the gallery as classes of these names; the protocol decides on
them. DukeMTMC-reID has neither: its distractors are 408 more persons in the gallery, whom no query looks for.
"""

import os
import re
from pathlib import Path

from circlet.data.data_set import DataSet, role_counts
from circlet.data.images import DataError, ImageSet, Splits
from circlet.data.listing import find_folder, listed_images, make_splits

_NAME = re.compile(r"(-1|\d{1,18})_c(\d{1,18})(?!\d)", re.ASCII)  # more digits do not fit into 64 bits
_LAYOUT = """\
ROOT/ or ROOT/{nested}/
  bounding_box_train/          {example}: id {id}, camera {camera}
  query/
  bounding_box_test/           the gallery{extra}"""
LAYOUT = _LAYOUT.format(
    nested="Market-1501-v15.09.15",
    example="0002_c1s1_000451_03.jpg",
    id="0002",
    camera=1,
    extra="; id -1 is junk, 0000 a distractor",
)
DUKE_LAYOUT = _LAYOUT.format(
    nested="DukeMTMC-reID",
    example="0001_c2_f0046182.jpg",
    id="0001",
    camera=2,
    extra="; 408 of its persons are in no query",
)


def market1501(root: str | Path) -> Splits:
    """Read Market-1501; class names are the ids, "-1" and "0000" among them in the gallery.

    Only *.jpg count. A missing folder, a name of another form, junk outside the gallery and an id both in train and
    query or gallery are a DataError.
    """
    return _read(root, "Market-1501-v15.09.15")


def dukemtmc(root: str | Path) -> Splits:
    """Read DukeMTMC-reID; see `market1501`."""
    return _read(root, "DukeMTMC-reID")


def _read(root: str | Path, nested: str) -> Splits:
    folder = find_folder(root, "bounding_box_train", nested)
    train, query = (_scan(folder, name, least=1) for name in ("bounding_box_train", "query"))
    return make_splits(folder, train, query, _scan(folder, "bounding_box_test", least=-1))


def _scan(folder: Path, name: str, *, least: int) -> ImageSet:
    """The images of one folder, in sorted order; an id below `least` is a DataError."""
    try:
        files = sorted(file for file in os.listdir(folder / name) if file.endswith(".jpg"))
    except OSError as error:
        raise DataError(f"{folder / name}: found no such folder ({error.strerror}), expected images *.jpg") from error
    ids, cameras = [], []
    for file in files:
        match = _NAME.match(file)
        if match is None or int(match[1]) < least:
            raise DataError(f"{folder / name / file}: found no id from {least} on and camera, expected ID_cCAMERA... "
                            "of at most 18 digits each")  # fmt: skip
        ids.append(match[1])
        cameras.append(int(match[2]))
    return listed_images(folder, ids, [f"{name}/{file}" for file in files], cameras)


MARKET1501 = DataSet(
    name="market1501",
    title="Market-1501, persons",
    task="re-identification",
    load=market1501,
    counts=role_counts((12_936, 751), (3_368, 750), (19_732, 752)),
    source="https://zheng-lab-anu.github.io/Project/project_reid.html",
    licence="research only; the persons did not consent",
    layout=LAYOUT,
)


DUKEMTMC = DataSet(
    name="dukemtmc",
    title="DukeMTMC-reID, persons",
    task="re-identification",
    load=dukemtmc,
    counts=role_counts((16_522, 702), (2_228, 702), (17_661, 1_110)),
    source="withdrawn by its authors in 2019, see https://exposing.ai/duke_mtmc/",
    licence="CC BY-NC-SA 4.0 when it was published; the persons did not consent",
    layout=DUKE_LAYOUT,
)
