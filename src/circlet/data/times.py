"""Points in time from text: ISO 8601 dates or date-times, or Unix seconds; one format for a whole column."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_EXPECTED = "an ISO 8601 date or date-time (2024-05-31, 2024-05-31T14:05:00) or Unix seconds"


class TimesError(ValueError):
    """Text that gives no times; `rows` are the numbers of the rows that the message speaks of."""

    def __init__(self, message: str, *rows: int) -> None:
        super().__init__(message)
        self.rows = rows


def parse_time(text: str) -> tuple[float, str]:
    """Seconds since 1970 (UTC), and in words what format the text has.

    >>> parse_time("1970-01-02")
    (86400.0, 'a date')
    >>> parse_time("1970-01-01T01:00:00+01:00")
    (0.0, 'a date-time with its time zone')
    >>> parse_time("86400.5")
    (86400.5, 'Unix seconds')

    A date is its first moment; without a time zone, UTC. ValueError for anything else.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        if math.isfinite(seconds):
            return seconds, "Unix seconds"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"found the time {text!r}, expected {_EXPECTED}") from None
    if not re.search(r"[T :]", text):
        return moment.replace(tzinfo=UTC).timestamp(), "a date"
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC).timestamp(), "a date-time without a time zone"
    return moment.timestamp(), "a date-time with its time zone"


def parse_times(cells: Sequence[str]) -> Floats:
    """Seconds since 1970 (UTC) of each cell (N,), all in one format; else a `TimesError` that says in which rows."""
    seconds = np.empty(len(cells))
    first = ""
    for row, cell in enumerate(cells):
        try:
            seconds[row], found = parse_time(cell)
        except ValueError as error:
            raise TimesError(str(error), row) from None
        first = first or found
        if found != first:
            message = f"found {first} ({cells[0]!r}) and {found} ({cell!r}), expected one format in column 'time'"
            raise TimesError(message, 0, row)
    return seconds
