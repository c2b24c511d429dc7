"""What a store is given, checked at its edge: items, rows, counts, settings; a ValueError says what was found."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from circlet.files import null_for_nan
from circlet.typed import shown
from circlet.vectors.protocol import Floats, Item

MAX_DIM = 1 << 16
MAX_TEXT_BYTES = 1 << 12
"""Of a name, a label or a content digest, in UTF-8."""
UNIT_TOLERANCE = 1e-3
"""A row this far from length 1 is none of an embedding in half precision, but one that nobody normalised."""


def check_items(items: Sequence[Item]) -> None:
    """Names that are text and differ; a ValueError says which one is not.

    >>> check_items([Item("a.jpg", "cat"), Item("a.jpg", "dog")])
    Traceback (most recent call last):
    ValueError: items: found the name 'a.jpg' twice, expected each once
    """
    seen: set[str] = set()
    for index, item in enumerate(items):
        if not isinstance(item, tuple) or len(item) != 3:
            raise ValueError(f"items: found {shown(item)} at index {index}, expected an Item")
        for field, text in zip(Item._fields, item, strict=True):
            _check_text(f"items[{index}].{field}", text)
        if not item[0]:
            raise ValueError(f"items[{index}].name: found nothing, expected a name")
        if item[0] in seen:
            raise ValueError(f"items: found the name {shown(item[0])} twice, expected each once")
        seen.add(item[0])


def check_names(names: Sequence[str]) -> list[str]:
    """A list of names, each of which could be one of an item."""
    if isinstance(names, str):
        raise ValueError(f"names: found {shown(names)}, expected a list of names")
    for index, name in enumerate(names):
        _check_text(f"names[{index}]", name)
    return list(names)


def check_rows(name: str, rows: Any, dim: int, count: int | None = None) -> Floats:
    """Finite unit rows as float32 (n, dim), contiguous; `count` is n where it is known."""
    with np.errstate(over="ignore"):  # told of below
        found: Floats = np.ascontiguousarray(rows, np.float32)
    if found.ndim != 2 or found.shape[1] != dim or (count is not None and len(found) != count):
        expected = f"({'n' if count is None else count}, {dim})"
        raise ValueError(f"{name}: found shape {found.shape}, expected {expected}")
    for first in range(0, len(found), 1 << 14):
        lengths = np.sqrt(np.einsum("ij,ij->i", found[first : first + (1 << 14)], found[first : first + (1 << 14)]))
        wrong = ~(np.abs(lengths - 1) <= UNIT_TOLERANCE)  # so that nan is wrong
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"{name}: found a row of length {lengths[index]:.4g} at index {first + index}, expected "
                             "unit rows")  # fmt: skip
    return found


def check_k(k: int) -> None:
    """A number of neighbours to find."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k: found {shown(k)}, expected a whole number of at least 1")


def check_writable(place: str, read_only: bool) -> None:
    """Refuse to write into what was opened to be read."""
    if read_only:
        raise ValueError(f"{place}: found it opened to be read only, expected it opened to be written")


def no_such_name(place: str, name: str) -> NoReturn:
    """Raise the ValueError for a vector that is not there."""
    raise ValueError(f"names: found {name!r}, which is not in {place}, expected such as are")


def packed_meta(meta: dict[str, Any]) -> str:
    r"""Settings as text in ASCII; null for a number that is not finite.

    >>> packed_meta({"root": "caf\u00e9", "thresholds": [0.5, float("nan")]})
    '{"root": "caf\\u00e9", "thresholds": [0.5, null]}'
    """
    if not isinstance(meta, dict):
        raise ValueError(f"meta: found {type(meta).__name__}, expected a dict of JSON values")
    try:
        return json.dumps(null_for_nan(meta), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"meta: found what JSON cannot hold ({error}), expected a dict of JSON values") from None


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{name}: found {shown(text)}, expected text")
    if len(text) > MAX_TEXT_BYTES or (not text.isascii() and _num_bytes(name, text) > MAX_TEXT_BYTES):
        raise ValueError(f"{name}: found {len(text)} characters, expected at most {MAX_TEXT_BYTES} bytes")
    if "\0" in text:
        raise ValueError(f"{name}: found a zero character in {shown(text)}, expected none")


def _num_bytes(name: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name}: found {shown(text)}, expected text that UTF-8 can hold") from None
