"""Files that are whole or absent, and JSON with null for a number that is not finite.

Every write goes to a temporary file beside its place, `.NAME.PID.part`, which is then moved there: a reader, or a run
that is killed, sees the old file or the whole new one. JSON has no NaN and no infinity; both are written as null.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside `path`, then move it there: readers see the old file or the whole new one.

    An OSError (a full disk, a missing right) names the file; the old file is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a failed write as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path}: could not be written ({error}); what was there before is unchanged") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, atomically; null for a number that is not finite."""
    write_text(path, json.dumps(null_for_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; a ValueError that names the file if it does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: found no valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a JSON object")
    return content


def whole_lines(path: Path) -> list[str]:
    """The lines of a text file that grows line by line; without a last one that was cut off before its newline.

    Empty if there is no such file.
    """
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def read_json_lines(path: Path) -> list[Any]:
    """What each whole line of a .jsonl file holds; a ValueError that names the file if one is no JSON."""
    try:
        return [json.loads(line) for line in whole_lines(path)]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: found no valid JSON ({error}), expected an object in each line") from error


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
    """Nested dicts with NaN in place of each None, as read from a file of numbers that `write_json` wrote."""
    if isinstance(content, dict):
        return {name: nan_for_null(value) for name, value in content.items()}
    return math.nan if content is None else content
