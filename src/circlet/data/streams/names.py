"""From what a user names to the shards: one file, a folder of them, or a pattern of numbers such as
`train-{000000..000099}.tar`, in braces as in the webdataset library.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from circlet.data.images import DataError
from circlet.data.notes import cut, say_once, some
from circlet.data.streams.shard_index import ShardFile
from circlet.progress import progress
from circlet.terminal import storable

SUFFIXES = (".tar", ".parquet")
EXPECTED = "a .tar or .parquet file, a folder of them, or a pattern such as train-{000000..000099}.tar"
MOST_SHARDS = 1 << 20
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


def find_shards(root: str | Path) -> list[ShardFile]:
    """The shards that `root` names, in the order of their names.

    DataError where one is missing or nothing is found, where one is there under two names, and for what is neither a
    tar nor Parquet.
    """
    paths = _paths(Path(root))
    found: list[ShardFile] = []
    missing: list[Path] = []
    first: dict[tuple[int, int], Path] = {}
    with progress("shards found", len(paths), unit="shard") as shown:
        for path in paths:
            shown.advance()
            if not os.path.lexists(path):
                missing.append(path)
                continue
            found.append(ShardFile.find(path))
            status = os.stat(path)
            earlier = first.setdefault((status.st_dev, status.st_ino), path)
            if earlier != path:
                raise DataError(f"{path}: found a shard that is listed twice, as {earlier} too, expected each once")
    if missing:
        told = some([path.name for path in missing])
        raise DataError(f"{missing[0]}: found no such shard ({len(missing)} of {len(paths)} are missing: {told}), "
                        f"expected all that {cut(str(root))} names")  # fmt: skip
    return found


def expanded(name: str) -> list[str]:
    """The names that a name with at most one range of numbers in braces stands for.

    >>> expanded("train-{08..10}.tar")
    ['train-08.tar', 'train-09.tar', 'train-10.tar']

    The numbers have as many digits as the first is written with. ValueError for a range that goes down, of more than
    1,048,576 numbers, or more than one.
    """
    ranges = _RANGE.findall(name)
    if not ranges:
        return [name]
    if len(ranges) > 1:
        raise ValueError(f"root: found {len(ranges)} ranges in {cut(name)!r}, expected one")
    first, last = map(int, ranges[0])
    if not first <= last < first + MOST_SHARDS:
        raise ValueError(f"root: found the range {first} to {last}, expected one that goes up, of at most "
                         f"{MOST_SHARDS:,}")  # fmt: skip
    before, after = _RANGE.split(name)[0], _RANGE.split(name)[-1]
    return [f"{before}{number:0{len(ranges[0][0])}d}{after}" for number in range(first, last + 1)]


def _paths(root: Path) -> list[Path]:
    if not os.path.lexists(root) and _RANGE.search(root.name):
        paths = [root.with_name(name) for name in expanded(root.name)]
    elif root.is_dir():
        paths = _in_folder(root)
    else:
        paths = [root]
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            found = path.suffix or ("no suffix" if os.path.lexists(path) else "nothing")
            raise DataError(f"{path}: found {found}, expected {EXPECTED}")
    return paths


def _in_folder(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: found no readable folder ({error.strerror}), expected {EXPECTED}") from error
    shards = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    if not shards:
        raise DataError(f"{folder}: found no shard, expected {EXPECTED}")
    others = [storable(name) for name in names if name not in set(shards)]
    if others:
        are = "are no shards, and are" if len(others) > 1 else "is no shard, and is"
        say_once(f"{folder}: {len(others)} of {len(names)} entries {are} passed over: {some(others)}")
    return [folder / name for name in shards]


def short_names(shards: Sequence[ShardFile]) -> list[str]:
    """What messages and lists call shards: their names without the folder, or with it where two are alike."""
    names = [storable(os.path.basename(shard.path)) for shard in shards]
    return names if len(set(names)) == len(names) else [storable(shard.path) for shard in shards]
