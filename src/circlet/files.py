"""Files that are whole or absent, and JSON with null for a number that is not finite.

Every write goes to a temporary file beside its place, `.NAME.HOST-PID.part`, which is then moved there: a reader, or a
run that is killed, sees the old file or the whole new one. What a killed process left is removed by the next write of
the same name (`circlet.leftovers`). JSON has no NaN and no infinity; both are written as null.

Nothing that is read is trusted: a file may be cut off, edited, of another version, or made to do harm. What it must
hold is said as a type (`circlet.typed`), and every error is a ValueError that names the file, the line, the key, what
was found and what was expected.
"""

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from circlet.leftovers import part_file
from circlet.typed import naming, typed, wrong

MAX_JSON_BYTES, MAX_VALUES = 1 << 29, 1 << 24  # a list of many images is long; many small values take the most memory
MAX_LINE_BYTES, MAX_LINES_BYTES = 1 << 24, 1 << 30
MAX_DEPTH = 64
MAX_DIGITS = 20  # of a whole number: as many as one of 64 bits has


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside `path`, then move it there: readers see the old file or the whole new one.

    An OSError (a full disk, a missing right) names the file; the old file is then as it was.
    """
    try:
        with part_file(path) as file:
            write(file)
    except (OSError, RuntimeError) as error:  # torch.save reports a failed write as a RuntimeError
        raise OSError(f"{path}: could not be written ({error}); what was there before is unchanged") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically; a path in it that is not UTF-8 is escaped."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, atomically; null for a number that is not finite."""
    text = json.dumps(null_for_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    raw = text.encode(errors="backslashreplace")  # of a path that is no UTF-8: as JSON escapes it
    write_atomically(path, lambda file: file.write(raw))


def read_json(path: Path, kind: Any = dict[str, Any]) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    kind: what it must hold: a TypedDict, or a dict of some type; see `circlet.typed`.

    FileNotFoundError if it is not there; ValueError, naming file and key, if it holds anything else, is no regular
    file, is no UTF-8, or holds a key twice, whole numbers of more than 64 bits, more than 64 levels, or more than
    MAX_VALUES values or MAX_JSON_BYTES bytes.
    """
    _check_file(path, MAX_JSON_BYTES)
    with naming(path):
        content = _parsed(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"found {type(content).__name__}, expected a JSON object")
        checked: dict[str, Any] = typed(kind, content, "")
    return checked


def read_json_lines(path: Path, kind: Any = Any) -> list[Any]:
    """What each whole line of a .jsonl file holds, as the type `kind`; empty if there is no such file.

    ValueError, naming file, line and key, as of `read_json`.
    """
    return [_in_line(path, number, lambda line: typed(kind, _parsed(line), ""), line) for number, line in _lines(path)]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl: numbers by name, among them the step, a whole number.

    Numbers that were not finite are left out: they stand as null, or, in files of earlier versions, as NaN. Empty if
    there is no such file; errors as those of `read_json_lines`.
    """
    return [_in_line(path, number, _log_line, line) for number, line in _lines(path)]


def whole_lines(path: Path) -> list[str]:
    """The lines of a text file that grows line by line; without a last one that was cut off before its newline.

    Empty if there is no such file; a ValueError that names file and line where one is no UTF-8.
    """
    return [_in_line(path, number, _text, line) for number, line in _lines(path)]


def null_for_nan(content: Any) -> Any:
    """Nested dicts and lists with None in place of each float that is not finite.

    >>> null_for_nan({"loss": float("nan"), "sizes": (1.5, float("inf"))})
    {'loss': None, 'sizes': [1.5, None]}
    """
    if isinstance(content, dict):
        return {name: null_for_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [null_for_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def nan_for_null(content: Any) -> Any:
    """Nested dicts and lists with NaN in place of each None, as read from a file of numbers that `write_json` wrote."""
    if isinstance(content, dict):
        return {name: nan_for_null(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [nan_for_null(value) for value in content]
    return math.nan if content is None else content


def _check_file(path: Path, max_bytes: int) -> None:
    """A regular file of that size at most: a pipe would be waited for."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path}: found a {'folder' if stat.S_ISDIR(found.st_mode) else 'device'}, expected a file")
    if found.st_size > max_bytes:
        raise ValueError(f"{path}: found {found.st_size} bytes, expected at most {max_bytes}")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their numbers, from 1; none where there is no file."""
    if not os.path.lexists(path):
        return
    _check_file(path, MAX_LINES_BYTES)
    with open(path, "rb") as file:
        number = 1
        while (line := file.readline(MAX_LINE_BYTES)).endswith(b"\n"):
            yield number, line[:-1]
            number += 1
    if len(line) == MAX_LINE_BYTES:
        raise ValueError(f"{path}, line {number}: found more than {MAX_LINE_BYTES} bytes, expected fewer")


def _in_line(path: Path, number: int, read: Callable[[bytes], Any], line: bytes) -> Any:
    with naming(f"{path}, line {number}"):
        return read(line)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"found byte {raw[error.start]:#04x} at {error.start}, expected text in UTF-8") from None


def _parsed(raw: bytes) -> Any:
    """Strict JSON, but for NaN and infinity, which earlier versions wrote."""
    text, nested = _text(raw), raw.count(b"[") + raw.count(b"{")
    if nested + raw.count(b",") > MAX_VALUES:
        raise ValueError(f"found more than {MAX_VALUES} values, expected fewer")
    try:
        content = json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if b"\n" in raw else f"column {error.colno}"
        raise ValueError(f"found no valid JSON ({error.msg}: {place})") from None
    except RecursionError:
        raise ValueError(f"found values within each other, expected at most {MAX_DEPTH} levels of them") from None
    if nested > MAX_DEPTH:
        _check_depth(content, MAX_DEPTH)
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice}: found this key twice in one object, expected it once")
    return found


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"found a whole number of {len(text)} digits, expected at most {MAX_DIGITS}")
    return int(text)


def _check_depth(content: Any, left: int) -> None:
    if left < 0:
        raise ValueError(f"found values within each other, expected at most {MAX_DEPTH} levels of them")
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            if isinstance(value, dict | list):
                _check_depth(value, left - 1)


def _log_line(raw: bytes) -> dict[str, Any]:
    line = _parsed(raw)
    if not isinstance(line, dict):
        raise wrong("", line, "an object of numbers, with the step")
    if type(line.get("step")) is not int:
        raise wrong("step", line.get("step"), "a whole number")
    for name, value in line.items():
        if value is not None and type(value) not in (int, float):
            raise wrong(name, value, "a number")
    return {name: value for name, value in line.items() if value is not None and math.isfinite(value)}
