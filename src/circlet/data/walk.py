"""Folders and what lies in them: every folder is listed whole, or it is an error that names it.

Hidden names, and what operating systems leave behind, are passed over without a word. Links to folders are not
followed, and nothing outside the root is opened.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from circlet.data.images import DataError
from circlet.data.regular import NotAFileError, open_regular
from circlet.data.signatures import BACKUPS, NUM_BYTES, SUFFIXES, UNREAD, raster_format, reads_avif

_COMPANIONS = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))  # files, in lower case
_NO_CLASSES = frozenset(("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"))  # folders
_SHOWN_CHARACTERS = 100  # of either end of a long path


class Listing(NamedTuple):
    """What lies in one folder: names, sorted.

    passed_over: what kind of file each is that is no image, such as ".txt". refused: links that lead to folders, to
    nothing or out of the root. by_content: the kind, by its name, of each image whose suffix does not make it one.
    """

    path: str
    folders: tuple[str, ...]
    images: tuple[str, ...]
    passed_over: tuple[str, ...]
    refused: tuple[str, ...]
    by_content: tuple[str, ...]


def walk(base: str, root: str) -> Iterator[Listing]:
    """`base`, then every folder below it, in sorted order, each before those inside it.

    root: images may be links to files below it. A folder that cannot be listed (no right to, a path that is too long, a
    disk that fails midway) is a DataError that names it and the reason.
    """
    real_root = os.path.realpath(root)
    ahead = [base]
    while ahead:
        listing = _listing(ahead.pop(), real_root)
        yield listing
        ahead += [os.path.join(listing.path, name) for name in reversed(listing.folders)]


def folders_in(path: str) -> list[str]:
    """The names of the folders in one, links to folders among them, sorted; a DataError where it cannot be listed."""
    return sorted(
        entry.name
        for entry in _entries(path)
        if _may_be_class(entry.name)
        and (entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path)))
    )


def what_is_at(path: str | Path) -> Literal["a folder", "a file", "nothing"]:
    """What a path leads to; a DataError where that cannot be told (no right to look, a path that is too long)."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except OSError as error:
        raise DataError(f"{_shortened(str(path))}: found a path that cannot be followed ({error.strerror or error}), "
                        "expected one that can be read") from error  # fmt: skip
    return "a folder" if stat.S_ISDIR(mode) else "a file"


def _listing(path: str, real_root: str) -> Listing:
    folders: list[str] = []
    images: list[str] = []
    passed_over: list[str] = []
    refused: list[str] = []
    by_content: list[str] = []
    for entry in _entries(path):
        name = entry.name
        if entry.is_dir(follow_symlinks=False):
            if _may_be_class(name):
                folders.append(name)
        elif name.startswith(".") or name.lower() in _COMPANIONS:
            continue
        elif entry.is_symlink() and not _is_sound(entry, real_root):
            refused.append(entry.path)
        elif (kind := _kind(entry, real_root)) is None:
            images.append(name)
            if _suffix(name) not in SUFFIXES:
                by_content.append(_plain(_suffix(name)))
        else:
            passed_over.append(kind)
    return Listing(path, *(tuple(sorted(names)) for names in (folders, images, passed_over, refused, by_content)))


def _entries(path: str) -> Iterator["os.DirEntry[str]"]:
    """The entries of a folder. What is asked of one may read the disk too, so it is asked while this waits."""
    try:
        with os.scandir(path) as entries:
            found = list(entries)
        for entry in found:  # where the file system says no kind, this asks for it, and remembers
            entry.is_dir(follow_symlinks=False)
    except OSError as error:
        raise DataError(f"{_shortened(path)}: found a folder that cannot be listed ({error.strerror or error}), "
                        "expected one that can be read; make it so, or move it elsewhere") from error  # fmt: skip
    yield from found


def _may_be_class(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _NO_CLASSES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _plain(suffix: str) -> str:
    """A suffix as it may be printed."""
    return suffix if suffix[1:].isalnum() and len(suffix) <= 10 else "without a suffix"


def _is_sound(link: "os.DirEntry[str]", real_root: str) -> bool:
    """Whether a link may stand among files. One named as an image may lead to nothing below the root: that is a missing
    image, found when it is read. One that is not named so might be a class.
    """
    is_named = _suffix(link.name) in SUFFIXES
    try:
        mode = os.stat(link.path).st_mode
    except OSError:
        return is_named and _is_below(link, real_root)
    return not stat.S_ISDIR(mode) and (not is_named or _is_below(link, real_root))


def _is_below(link: "os.DirEntry[str]", real_root: str) -> bool:
    return os.path.commonpath([real_root, os.path.realpath(link.path)]) == real_root


def _kind(entry: "os.DirEntry[str]", real_root: str) -> str | None:
    """What to call a file that is passed over; None for an image. Only a file of unknown suffix is looked into."""
    suffix = _suffix(entry.name)
    if suffix in SUFFIXES and (suffix != ".avif" or reads_avif()):
        return None
    if suffix.endswith(BACKUPS) or entry.name.endswith("~"):
        return "backup"
    plain = _plain(suffix)
    if suffix in UNREAD or suffix in SUFFIXES or (entry.is_symlink() and not _is_below(entry, real_root)):
        return plain
    try:
        with open_regular(entry.path) as file:
            found = raster_format(file.read(NUM_BYTES))
    except NotAFileError:
        return plain
    except OSError:
        return "unreadable"
    if found is None:
        return plain
    return found if found == "HEIC" or (found == "AVIF" and not reads_avif()) else None


def _shortened(path: str) -> str:
    if len(path) <= 3 * _SHOWN_CHARACTERS:
        return path
    return f"{path[:_SHOWN_CHARACTERS]}...{path[-_SHOWN_CHARACTERS:]} ({len(path)} characters)"
