"""IJB-C (Maze et al. 2018), 1:1 verification of templates, in the form that insightface distributes."""

from pathlib import Path

import numpy as np

from circlet.data.data_set import DataSet
from circlet.data.evaluation_sets import Templates
from circlet.data.images import DataError
from circlet.data.listing import find_folder, listed_images, read_columns, require_files

LAYOUT = """\
ROOT/ or ROOT/IJBC/
  loose_crop/1.jpg             not aligned: the landmarks say where the face is
  meta/ijbc_face_tid_mid.txt             1.jpg 1 69544            (image, template, media)
  meta/ijbc_template_pair_label.txt      1 11065 1                (two templates, 1 for the same person)
  meta/ijbc_name_5pts_score.txt          1.jpg x1 y1 .. x5 y5 score   (rows as in ijbc_face_tid_mid.txt)"""
_POINTS = tuple(f"{axis}{point}" for point in range(1, 6) for axis in "xy")


def ijbc(root: str | Path) -> Templates:
    """Read IJB-C; row i of every field is line i of ijbc_face_tid_mid.txt.

    A missing or malformed list, lists of which the rows differ, a label other than 0 and 1, a template without an image
    and images that are not there are a DataError.
    """
    folder = find_folder(root, "meta", "IJBC")
    faces = folder / "meta" / "ijbc_face_tid_mid.txt"
    face = read_columns(faces, {"image": "string", "template": "int64", "media": "int64"}, " ")
    points = folder / "meta" / "ijbc_name_5pts_score.txt"
    point = read_columns(points, {"image": "string", **dict.fromkeys((*_POINTS, "score"), "float32")}, " ")
    if len(face["image"]) != len(point["image"]):
        raise DataError(f"{points}: found {len(point['image'])} rows, expected {len(face['image'])} as in {faces}")
    if (differs := np.flatnonzero(face["image"] != point["image"])).size:
        row = differs[0]
        raise DataError(f"{points}, line {row + 1}: found {point['image'][row]!r}, expected {face['image'][row]!r} "
                        f"as in {faces}")  # fmt: skip
    labels = folder / "meta" / "ijbc_template_pair_label.txt"
    pair = read_columns(labels, {"first": "int64", "second": "int64", "same": "int64"}, " ")
    if (wrong := np.flatnonzero((pair["same"] != 0) & (pair["same"] != 1))).size:
        raise DataError(f"{labels}, line {wrong[0] + 1}: found {pair['same'][wrong[0]]}, expected 1 (same) or 0")
    names = face["image"].tolist()
    require_files(folder / "loose_crop", names, faces, range(1, len(names) + 1))
    try:
        return Templates(
            listed_images(folder / "loose_crop", list(map(str, face["template"].tolist())), names),
            face["template"],
            face["media"],
            np.stack([pair["first"], pair["second"]], axis=1),
            pair["same"] == 1,
            np.stack([point[name] for name in _POINTS], axis=1).reshape(-1, 5, 2),
            point["score"],
        )
    except DataError as error:
        raise DataError(f"{labels}: {error}") from error


IJBC = DataSet(
    name="ijbc",
    title="IJB-C, 1:1",
    task="template verification",
    load=ijbc,
    counts={"images": 469_375, "templates": 23_124, "pairs": 15_658_489, "same pairs": 19_557},
    source="https://nigos.nist.gov/datasets/ijbc/request",
    licence="research, on request to NIST",
    layout=LAYOUT,
)
