"""Labeled Faces in the Wild (Huang et al. 2007), view 2: ten folds of pairs.txt.

No face is aligned here: figures as published need aligned crops of 112 x 112, which LFW's own images are not.
"""

import os
from pathlib import Path

import numpy as np

from circlet.data.data_set import DataSet
from circlet.data.evaluation_sets import FacePairs
from circlet.data.images import DataError
from circlet.data.listing import Line, find_folder, listed_images, read_lines, require_files

LAYOUT = """\
ROOT/
  pairs.txt                    10 300                               (folds, pairs of a kind in each)
                               Abel_Pacheco 1 4                     (same person)
                               Abdel_Madi_Shabneh 1 Dean_Barker 1   (different)
  lfw/Abel_Pacheco/Abel_Pacheco_0001.jpg   or .png; or lfw-deepfunneled/, lfw_funneled/, or the persons in ROOT itself
Figures as published need aligned crops of 112 x 112 in these places; LFW's own images are not aligned."""
_FOLDERS = ("lfw", "lfw-deepfunneled", "lfw_funneled")


def lfw(root: str | Path) -> FacePairs:
    """Read LFW: the images that pairs.txt names, once each, and its pairs.

    Image files are .jpg, or .png where the first image is there so alone, as aligned copies often are. A class is a
    person. A missing or malformed list, one with more or fewer pairs or another order of folds than its first line
    says, and images that are not there are a DataError.
    """
    folder = find_folder(root, "pairs.txt")
    file = folder / "pairs.txt"
    first, *lines = read_lines(file, (2, 3, 4))
    num_folds, per_kind = first.integer(0), first.integer(1)
    if len(first.cells) != 2 or num_folds < 2 or per_kind < 1 or len(lines) != 2 * num_folds * per_kind:
        raise DataError(
            f"{first.where}: found {' '.join(first.cells)!r} and {len(lines)} pairs below, expected the number of "
            "folds (at least 2) and of pairs of each kind in a fold, and so many pairs"
        )
    is_same = np.arange(len(lines)) // per_kind % 2 == 0
    named = [_pair(line, bool(same)) for line, same in zip(lines, is_same, strict=True)]
    images = next((folder / name for name in _FOLDERS if (folder / name).is_dir()), folder)
    found = [suffix for suffix in (".jpg", ".png") if os.path.isfile(images / f"{named[0][0]}{suffix}")] or [".jpg"]
    named = [(f"{first}{found[0]}", f"{second}{found[0]}") for first, second in named]
    line_of = {name: line.number for line, pair in zip(reversed(lines), reversed(named), strict=True) for name in pair}
    names = sorted(line_of)
    require_files(images, names, file, [line_of[name] for name in names])
    row_of = {name: row for row, name in enumerate(names)}
    image_set = listed_images(images, [name.split("/")[0] for name in names], names)
    pairs = np.array([[row_of[name] for name in pair] for pair in named])
    return FacePairs(image_set, pairs, is_same, num_folds)


def _pair(line: Line, is_same: bool) -> tuple[str, str]:
    """The two images of a line, without a suffix."""
    if len(line.cells) != (3 if is_same else 4):
        kind = "a pair of one person (name, two numbers)" if is_same else "of two persons (name, number, twice)"
        raise DataError(f"{line.where}: found {len(line.cells)} columns, expected {kind} in this place of its fold")
    persons = (line.cells[0], line.cells[0]) if is_same else (line.cells[0], line.cells[2])
    first, second = (f"{p}/{p}_{line.integer(c):04d}" for p, c in zip(persons, (1, -1), strict=True))
    return first, second


LFW = DataSet(
    name="lfw",
    title="Labeled Faces in the Wild, view 2",
    task="face verification",
    load=lfw,
    counts={"pairs": 6_000, "same pairs": 3_000, "folds": 10},
    source="http://vis-www.cs.umass.edu/lfw/",
    licence="research only; the images are from the news",
    layout=LAYOUT,
)
