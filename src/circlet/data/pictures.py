"""Which images are one picture: the same file, or files that are equal byte for byte, whatever they are called.

A file is told by device and number (inode), so links to it are it. Only files of one size are looked into, and of these
the last bytes first: a set of many files is mostly a question to the file system for each. Images that are no files of
their own (archives, drawn characters), files that are missing and what is no regular file are each their own picture,
and so is each box of a photograph. Pictures that are only alike are not found here.
"""

import os
import stat
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import numpy as np

from circlet.data.content import file_digest
from circlet.data.images import ImageSet, Ints
from circlet.data.readers import Reader, file_of, part_of

_TAIL = 4096  # bytes; files of one camera begin alike, so it is the end that tells them apart


class Pictures(NamedTuple):
    """Numbers (N,) that are equal where images are the same, of several sets one after the other.

    file: the same part of one file. content: the same part of files that are equal byte for byte.
    """

    file: Ints
    content: Ints


def pictures(*sets: ImageSet) -> Pictures:
    """Which images of these sets are one picture.

    >>> from circlet.data import FileReader
    >>> images = ImageSet.from_classes(["ant", "bee"], ["1", "2"], FileReader("/dev", ("null", "zero")))
    >>> pictures(images, images.subset([1])).content.tolist()
    [0, 1, 2]

    (These are no regular files.) Files that cannot be read, and empty ones, equal no others.
    """
    files = Files()
    places = [_place(files, images.read, index) for images in sets for index in range(len(images))]
    first = files.first_of_equals()
    alone = range(-1, -1 - len(places), -1)

    def numbered(number_of: Callable[[int], int]) -> Ints:
        keys: dict[Hashable, int] = {}
        found = [
            keys.setdefault(own if number is None or part is None else (number_of(number), part), len(keys))
            for own, (number, part) in zip(alone, places, strict=True)
        ]
        return np.array(found, dtype=np.int64)

    by_file = numbered(lambda number: number)
    return Pictures(by_file, by_file if first == list(range(len(first))) else numbered(first.__getitem__))


def _place(files: "Files", read: Reader, index: int) -> tuple[int | None, bytes | None]:
    """The number of the file of an image, and which part of it; None where the reader cannot tell."""
    try:
        return files.number(file_of(read, index)), part_of(read, index)
    except Exception:  # readers are anybody's: what is wrong with an image shows when it is read
        return None, None


class Files:
    """Regular files, numbered as they come; paths that lead to one file have one number."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.sizes: list[int] = []
        self._of_path: dict[str, int | None] = {}
        self._of_identity: dict[Hashable, int] = {}

    def number(self, path: str | None) -> int | None:
        """The number of the file; None for what is no regular file that can be found."""
        if path is None:
            return None
        if path not in self._of_path:
            self._of_path[path] = self._new(path)
        return self._of_path[path]

    def _new(self, path: str) -> int | None:
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # ValueError: a name with a zero byte
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        # Some network file systems number no files.
        identity: Hashable = (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)
        number = self._of_identity.setdefault(identity, len(self.paths))
        if number == len(self.paths):
            self.paths.append(path)
            self.sizes.append(found.st_size)
        return number

    def first_of_equals(self) -> list[int]:
        """For each file the number of the first that is equal to it byte for byte, itself where no other is."""
        by_size: dict[int, list[int]] = {}
        for number, size in enumerate(self.sizes):
            by_size.setdefault(size, []).append(number)
        first = list(range(len(self.paths)))
        for size, numbers in by_size.items():
            for alike in self._split(numbers, _tail) if size else ():
                for equal in self._split(alike, file_digest) if size > _TAIL else (alike,):
                    for number in equal:
                        first[number] = equal[0]
        return first

    def _split(self, numbers: list[int], key: Callable[[str], bytes]) -> Iterable[list[int]]:
        """Those of each key that several have; a file that cannot be read has none."""
        if len(numbers) < 2:
            return ()
        found: dict[bytes, list[int]] = {}
        for number in numbers:
            try:
                found.setdefault(key(self.paths[number]), []).append(number)
            except OSError:
                continue
        return [equal for equal in found.values() if len(equal) > 1]


def _tail(path: str) -> bytes:
    """The last bytes of a file."""
    with open(path, "rb", buffering=0) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        return file.read(_TAIL)
