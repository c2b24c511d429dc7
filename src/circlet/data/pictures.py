"""Which images are one picture: the same file, or files that are equal byte for byte, whatever they are called.

A file is told by device and number (inode), so links to it are it. Only files of one size are looked into, and of these
the last bytes first: a set of many files is mostly a question to the file system for each. Images that are no files of
their own (archives, drawn characters), files that are missing and what is no regular file are each their own picture,
and so is each box of a photograph. Pictures that are only alike are not found here.
"""

import os
import stat
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from circlet.data.ahead import map_ahead, num_threads
from circlet.data.content import file_digest
from circlet.data.images import ImageSet, Ints
from circlet.data.readers import Reader, file_of, part_of
from circlet.data.regular import NotAFileError

T = TypeVar("T")

_TAIL = 4096  # bytes; files of one camera begin alike, so it is the end that tells them apart
_CHUNK = 256  # files for a thread at a time: to pass one on costs more than to ask for it


class Pictures(NamedTuple):
    """Numbers (N,) that are equal where images are the same, of several sets one after the other.

    file: the same part of one file. content: the same part of files that are equal byte for byte. whole: any parts of
    files that are equal byte for byte.
    """

    file: Ints
    content: Ints
    whole: Ints


def pictures(*sets: ImageSet) -> Pictures:
    """Which images of these sets are one picture.

    >>> from circlet.data import FileReader
    >>> images = ImageSet.from_classes(["ant", "bee"], ["1", "2"], FileReader("/dev", ("null", "zero")))
    >>> pictures(images, images.subset([1])).content.tolist()
    [0, 1, 2]

    (These are no regular files.) Files that cannot be read, and empty ones, equal no others.
    """
    places = [_place(images.read, index) for images in sets for index in range(len(images))]
    files = _Files(path for path, _ in places if path is not None)
    numbers = [None if path is None else files.number[path] for path, _ in places]
    first = files.first_of_equals()

    def numbered(key: Callable[[int, bytes | None], Hashable | None]) -> Ints:
        keys: dict[Hashable, int] = {}
        found = []
        for own, (number, (_, part)) in enumerate(zip(numbers, places, strict=True)):
            told = None if number is None else key(number, part)
            found.append(keys.setdefault(-1 - own if told is None else told, len(keys)))
        return np.array(found, dtype=np.int64)

    by_file = numbered(lambda number, part: None if part is None else (number, part))
    alike = first != list(range(len(first)))
    content = numbered(lambda number, part: None if part is None else (first[number], part)) if alike else by_file
    wholes = all(part == b"" for _, part in places)
    return Pictures(by_file, content, content if wholes else numbered(lambda number, _: first[number]))


def _place(read: Reader, index: int) -> tuple[str | None, bytes | None]:
    """The path of the file of an image, and which part of it; None where the reader cannot tell."""
    try:
        return file_of(read, index), part_of(read, index)
    except Exception:  # readers are anybody's: what is wrong with an image shows when it is read
        return None, None


class _Files:
    """Regular files, numbered as they come; paths that lead to one file have one `number`, others None."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.number: dict[str, int | None] = dict.fromkeys(paths)
        self.paths: list[str] = []
        self.sizes: list[int] = []
        of_identity: dict[Hashable, int] = {}
        named = list(self.number)
        for path, found in zip(named, _of_each(_identity, named, _CHUNK), strict=True):
            if found is None:
                continue
            identity, size = found
            number = self.number[path] = of_identity.setdefault(identity, len(self.paths))
            if number == len(self.paths):
                self.paths.append(path)
                self.sizes.append(size)

    def first_of_equals(self) -> list[int]:
        """For each file the number of the first that is equal to it byte for byte, itself where no other is."""
        by_size: dict[int, list[int]] = {}
        for number, size in enumerate(self.sizes):
            if size:
                by_size.setdefault(size, []).append(number)
        alike = self._split(by_size.values(), _tail, _CHUNK)
        equal = [numbers for numbers in alike if self.sizes[numbers[0]] <= _TAIL]
        equal += self._split((numbers for numbers in alike if self.sizes[numbers[0]] > _TAIL), file_digest, 1)
        first = list(range(len(self.paths)))
        for numbers in equal:
            for number in numbers:
                first[number] = numbers[0]
        return first

    def _split(self, alike: Iterable[list[int]], key: Callable[[str], bytes], chunk: int) -> list[list[int]]:
        """Those of each key that several of a list have; a file that cannot be read has none."""

        def key_of(path: str) -> bytes | None:
            try:
                return key(path)
            except (OSError, ValueError):  # ValueError: it is no regular file any more
                return None

        several = [numbers for numbers in alike if len(numbers) > 1]
        keys = iter(_of_each(key_of, [self.paths[number] for numbers in several for number in numbers], chunk))
        split = []
        for numbers in several:
            found: dict[bytes | None, list[int]] = {}
            for number in numbers:
                found.setdefault(next(keys), []).append(number)
            found.pop(None, None)
            split += [equal for equal in found.values() if len(equal) > 1]
        return split


def _of_each(function: Callable[[str], T], paths: Sequence[str], chunk: int) -> list[T]:
    """What the function gives for each path, in threads: on a network each would be waited for by itself."""
    starts = range(0, len(paths), chunk)
    done = map_ahead(
        lambda i: [function(path) for path in paths[starts[i] : starts[i] + chunk]],
        len(starts),
        threads=num_threads(),
        ahead=64,
    )
    return [found for part in done for found in part]


def _identity(path: str) -> tuple[Hashable, int] | None:
    """What is equal for paths that lead to one file, and its size; None for what is no regular file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    # Some network file systems number no files, and some virtual ones give a number twice.
    own: Hashable = (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)
    return (own, found.st_size, found.st_mtime_ns), found.st_size


def _tail(path: str) -> bytes:
    """The last bytes of a file, which as in `open_regular` is not waited for, at a third of what a buffer costs."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):  # it was, a moment ago
            raise NotAFileError(f"{path}: found no regular file, expected one")
        os.lseek(file, max(0, found.st_size - _TAIL), os.SEEK_SET)
        return os.read(file, _TAIL)
    finally:
        os.close(file)
