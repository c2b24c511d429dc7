"""YouTube Faces (Wolf et al. 2011): ten folds of pairs of videos."""

from pathlib import Path

import numpy as np

from circlet.data.data_set import DataSet
from circlet.data.evaluation_sets import VideoPairs
from circlet.data.images import DataError
from circlet.data.listing import Line, find_folder, listed_images, read_lines
from circlet.data.signatures import SUFFIXES

LAYOUT = """\
ROOT/ or ROOT/YouTubeFaces/
  splits.txt                   split number, pair number in split, first name, second name, is same
                               1, 1, Claudia_Schiffer/4, Claudia_Schiffer/5, 1
  aligned_images_DB/Claudia_Schiffer/4/*.jpg   or frame_images_DB/"""
_FOLDERS = ("aligned_images_DB", "frame_images_DB")


def ytf(root: str | Path, *, num_folds: int = 10) -> VideoPairs:
    """Read YTF: all frames of the videos that splits.txt names, and its pairs.

    Frames are taken aligned where both folders are there. A class is a video. A missing or malformed list, another
    number of folds, folds of unequal size, out of order or with pairs of one kind, and videos that are not there or
    have no frame are a DataError.
    """
    folder = find_folder(root, "splits.txt", "YouTubeFaces")
    file = folder / "splits.txt"
    lines = read_lines(file, 5, skip=1, separator=",", first="split")
    folds = [line.integer(0) for line in lines]
    if folds[-1] != num_folds or len(lines) % num_folds:
        raise DataError(
            f"{lines[-1].where}: found the end in split {folds[-1]} after {len(lines)} pairs, expected it in split "
            f"{num_folds}, all of equal size; the list may be cut off"
        )
    per_fold = len(lines) // num_folds
    for index, (line, fold) in enumerate(zip(lines, folds, strict=True)):
        if fold != index // per_fold + 1:
            raise DataError(f"{line.where}: found split {fold}, expected {num_folds} splits of equal size in order")
        if line.cells[4] not in ("0", "1"):
            raise DataError(f"{line.where}: found {line.cells[4]!r}, expected 1 (same) or 0")
    frames = next((folder / name for name in _FOLDERS if (folder / name).is_dir()), None)
    if frames is None:
        raise DataError(f"{folder}: found none of {', '.join(_FOLDERS)}, expected the folder of the frames")
    line_of = {video: line for line in reversed(lines) for video in line.cells[2:4]}  # the first with the video
    videos = sorted(line_of)
    classes, names = [], []
    for video in videos:
        found = _frames(frames, video, line_of[video])
        classes += [video] * len(found)
        names += found
    label_of = {video: label for label, video in enumerate(videos)}
    pairs = np.array([[label_of[video] for video in line.cells[2:4]] for line in lines])
    is_same = np.array([line.cells[4] == "1" for line in lines])
    try:
        return VideoPairs(listed_images(frames, classes, names), pairs, is_same, num_folds)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _frames(root: Path, video: str, line: Line) -> list[str]:
    """The frames of a video, in the order of their names."""
    if video.startswith("/") or ".." in video.split("/"):
        raise DataError(f"{line.where}: found the video {video!r}, expected a path below {root}")
    try:
        names = sorted(path.name for path in (root / video).iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError:
        names = []
    if not names:
        raise DataError(f"{line.where}: found no frame in {root / video}, expected those of the video")
    return [f"{video}/{name}" for name in names]


YTF = DataSet(
    name="ytf",
    title="YouTube Faces",
    task="face verification",
    load=ytf,
    counts={"pairs": 5_000, "same pairs": 2_500, "folds": 10},
    source="https://www.cs.tau.ac.il/~wolf/ytfaces/",
    licence="research only, on request",
    layout=LAYOUT,
)
