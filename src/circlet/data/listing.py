"""What the published data sets have in common: lists in text files, and images that these name.

Everything that goes wrong is a `DataError` that names the file and the line. No format is known here.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from circlet.data.images import DataError, FileReader, ImageSet, SeenClassError, Splits, split_classes
from circlet.data.notes import some
from circlet.data.regular import NotAFileError, open_regular
from circlet.optional import need

_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list: where it is, and its cells."""

    path: Path
    number: int
    cells: tuple[str, ...]

    @property
    def where(self) -> str:
        """The file and the line, as error messages begin."""
        return f"{self.path}, line {self.number}"

    def integer(self, column: int) -> int:
        """The whole number in a column, of at most 18 digits, which fits into 64 bits; else a DataError."""
        if not _NUMBER.fullmatch(self.cells[column]):
            raise DataError(f"{self.where}: found {self.cells[column][:60]!r}, expected a whole number of at most 18 "
                            "digits")  # fmt: skip
        return int(self.cells[column])


def find_folder(root: str | Path, holds: str, *nested: str) -> Path:
    """The first of `root` and root/`nested` that has the file or folder `holds` (archives unpack one deeper or not)."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: found {'a file' if root.exists() else 'nothing'}, expected a folder with {holds}")
    for folder in (root, *(root / name for name in nested)):
        if (folder / holds).exists():
            return folder
    below = f" here or in {', '.join(nested)}" if nested else ""
    raise DataError(f"{root}: found no {holds}{below}, expected it; the archive may be another or half extracted")


def read_lines(
    path: Path, columns: int | Sequence[int], *, skip: int = 0, separator: str | None = None, first: str = ""
) -> list[Line]:
    """The lines of a text file after the first `skip`, split at `separator` (None: white space).

    `columns`: how many cells a line may have. `first`: what the last of the skipped lines begins with. Empty lines at
    the end are passed over; an empty one between others, a missing file and one that is no text are a DataError.
    """
    content = _content(path)
    try:
        texts = content.decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        found = content[error.start : error.start + 20]
        raise DataError(f"{path}, line {number}: found no text in UTF-8 ({found!r}), expected a list") from error
    if len(texts) <= skip:
        raise DataError(f"{path}: found {len(texts)} lines, expected more than {skip}")
    if first and not texts[skip - 1].startswith(first):
        raise DataError(f"{path}, line {skip}: found {texts[skip - 1]!r}, expected the header {first}...")
    allowed = (columns,) if isinstance(columns, int) else columns
    lines = []
    for number, text in enumerate(texts[skip:], skip + 1):
        if "\0" in text:
            raise DataError(f"{path}, line {number}: found a zero byte ({text[:60]!r}), expected text")
        cells = tuple(cell.strip() for cell in text.split(separator))
        if len(cells) not in allowed or not all(cells):
            expected = " or ".join(map(str, allowed))
            raise DataError(f"{path}, line {number}: found {len(cells)} columns ({text[:60]!r}), expected {expected}")
        lines.append(Line(path, number, cells))
    return lines


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except NotAFileError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: found no such list ({error.strerror}), expected it beside the images") from error


def read_columns(path: Path, columns: dict[str, str], separator: str) -> dict[str, npt.NDArray[Any]]:
    """The columns {name: type} of a list of millions of lines without a header, "string" columns as object arrays."""
    need("pyarrow", "parquet")
    import pyarrow as pa
    import pyarrow.csv

    if not path.is_file():
        raise DataError(f"{path}: found no such list, expected it beside the images")
    types = {name: pa.type_for_alias(kind) for name, kind in columns.items()}
    try:
        table = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(column_names=list(columns), use_threads=False),  # threads lose the line number
            pyarrow.csv.ParseOptions(delimiter=separator, quote_char=False),
            pyarrow.csv.ConvertOptions(column_types=types, null_values=[]),
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: found no readable list ({error}), expected the columns {', '.join(columns)}"
        ) from error
    return {name: np.array(table[name].to_numpy()) for name in columns}  # pyarrow's own cannot be written to


def require_files(root: Path, names: Sequence[str], listed_in: Path, lines: Sequence[int] = ()) -> None:
    """Raise a DataError unless every file `names` (relative to `root`, with /) is there: one look at each folder.

    lines: of `listed_in`, in which the names stand, for the message.
    """
    entries: dict[str, set[str]] = {}
    missing: list[int] = []

    def where(index: int) -> str:
        return f"{listed_in}, line {lines[index]}" if lines else str(listed_in)

    for index, name in enumerate(names):
        folder, _, base = name.rpartition("/")
        if name.startswith("/") or (folder not in entries and ".." in PurePosixPath(name).parts):
            raise DataError(f"{where(index)}: found the image {name!r}, expected paths below {root}")
        if folder not in entries:
            try:
                entries[folder] = set(os.listdir(root / folder))
            except (OSError, ValueError):  # ValueError: a name with a zero byte
                entries[folder] = set()
        if base not in entries[folder] or base in (".", ".."):
            missing.append(index)
    if missing:
        raise DataError(
            f"{where(missing[0])}: found an image missing, {len(missing)} of the {len(names)} listed in all "
            f"({some([names[index] for index in missing])}), expected all below {root}; the archive may be half "
            "extracted"
        )


def listed_images(
    root: Path, classes: Sequence[str], names: Sequence[str], cameras: Sequence[int] | None = None
) -> ImageSet:
    """Image files below `root` with their classes."""
    return ImageSet.from_classes(
        classes, names, FileReader(str(root), tuple(names)), None if cameras is None else np.array(cameras, np.int64)
    )


def make_splits(
    where: Path, train: ImageSet, query: ImageSet, gallery: ImageSet | None = None, *, closed_set: bool = False
) -> Splits:
    """`Splits`, whose errors (no image in a role, classes in train and test) name the file."""
    try:
        return Splits(train, query, gallery, closed_set)
    except SeenClassError as error:
        raise DataError(f"{_line_of(where, error.image)}: {error}") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _line_of(where: Path, image: str) -> str:
    """The file and the line that names an image, as error messages begin; the file alone if it is no such list."""
    if where.suffix == ".txt":
        texts = _content(where).decode("utf-8-sig", "replace").splitlines()
        for cell in (image, PurePosixPath(image).stem):  # VehicleID leaves out folder and suffix
            for number, text in enumerate(texts, 1):
                if cell in text.split():
                    return f"{where}, line {number}"
    return str(where)


def split_by_classes(where: Path, images: ImageSet, held_out: float, seed: int) -> Splits:
    """`split_classes`, whose errors (too few classes) name the file."""
    try:
        return split_classes(images, held_out, seed)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
