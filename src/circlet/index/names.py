"""What an image is called in an index, and which of these names may become a path.

An image of the folder that an index follows is called by its path below it. All others begin with "/" (a file from
elsewhere) or with "added:", so that it is told apart from an image that has gone from the folder.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from circlet.data.table import TABLES

ADDED = "added:"
BOX = "#xywh="  # before the part of an image that is meant (`circlet.data.boxes.box_text`)
_ENROLLED = ".enrolled"


def is_of_folder(name: str) -> bool:
    """Whether it is the name of an image of the folder.

    >>> [is_of_folder(name) for name in ("ant/1.jpg", "/home/me/1.jpg", "added:ann")]
    [True, False, False]
    """
    return not name.startswith(("/", ADDED))


def of_folder(path: str) -> str:
    """What an image of the folder is called, by its path below it."""
    return path if is_of_folder(path) else f"./{path}"


def of_added(name: str) -> str:
    """What an image is called that somebody has named: with "added:" before it unless it is there, or a whole path."""
    return f"{ADDED}{name}" if is_of_folder(name) else name


def path_of(name: str, roots: Sequence[str]) -> Path | None:
    """The file that a name stands for: a regular one below one of the roots; None where there is none.

    Of a part of an image (`circlet.data.boxes`) that is the whole one. The name may be anybody's. Nothing outside the
    roots is ever given, by ".." or by a link neither. The whole file system is no root: an index may be anybody's too.
    """
    if name.startswith(ADDED) or "\0" in name or ".." in PurePosixPath(name).parts:
        return None
    whole = name.removeprefix("./")  # as `of_folder` has put it there
    for root in roots:
        for each in dict.fromkeys([whole, whole.rpartition(BOX)[0] or whole]):
            path = Path(root, each)  # an absolute name stands for itself
            real, base = os.path.realpath(path), os.path.realpath(root)
            if base != os.sep and real.startswith(base + os.sep) and os.path.isfile(real):
                return path
    return None


def folder_of(root: str) -> str:
    """The folder that images lie in, of what an index follows: itself, or that of a manifest."""
    return str(Path(root).parent) if Path(root).suffix.lower() in TABLES and not Path(root).is_dir() else root


def enrolled_folder(location: str) -> Path | None:
    """Where `circlet serve` keeps what is enrolled: beside an index that is a folder or a file; None for others.

    >>> enrolled_folder("postgresql://db.example/photos"), enrolled_folder("nowhere")
    (None, None)
    """
    kind, _, rest = location.partition(":")
    path = Path(rest if kind == "milvus" else location)
    return path.with_name(path.name + _ENROLLED) if "://" not in location and path.exists() else None
