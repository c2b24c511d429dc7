"""A label as a shard has it, to the name of a class."""

from typing import Any

from circlet.data.images import DataError
from circlet.data.notes import shown

LONGEST = 1 << 12
_DIGITS = 19


def label_of(value: Any, where: str) -> str:
    """The name of a class: text as it is, a whole number without leading zeros.

    >>> label_of("ant", "a.tar, member 1.cls"), label_of("007", "a.tar, member 2.cls"), label_of(7, "a.tar, member 3")
    ('ant', '7', '7')

    where: as errors begin. DataError for what is empty, of several lines, too long, or of another type.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: found the label {shown(repr(value))}, expected text or a whole number")
    if not value or value.isspace():
        raise DataError(f"{where}: found an empty label, expected text or a whole number")
    fault = len(value) > LONGEST or any(each in value for each in "\0\n\r")
    try:
        value.encode()
    except UnicodeEncodeError:
        fault = True
    if fault:
        raise DataError(f"{where}: found the label {shown(value)}, expected one line of at most {LONGEST:,} characters "
                        "in Unicode")  # fmt: skip
    return str(int(value)) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else value
