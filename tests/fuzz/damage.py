"""What can happen to a file: bits that flip, parts that are lost or repeated, numbers and JSON values that are others.

An edit is small and says itself what it does, so that hypothesis can shrink a failure to the least damage.
"""

import copy
import json
import re
from typing import Any, NamedTuple

from hypothesis import strategies as st

NUMBERS = [
    b"0",
    b"-1",
    b"1e19",
    b"-1e19",
    b"99999999999999999999",
    b"4294967295",
    b"2147483648",
    b"nan",
    b"inf",
    b"1e308",
]
PIECES = [
    b"",
    b"\0",
    b"\0" * 64,
    b"\xff" * 8,
    b"\n",
    b"\r",
    b'"',
    b",",
    b"\t",
    b"../",
    b"/dev/zero",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
]
DEEP = "nested very deeply"  # a mark, which becomes brackets in the text: Python's own writer goes only so deep
VALUES: list[Any] = [
    None,
    True,
    5,
    -1,
    2**64,
    10**40,
    1e308,
    0.5,
    "x",
    "",
    "\x1b[31m\n",
    [],
    {},
    [48, 48, 48],
    {"": 0},
    DEEP,
]


class Flip(NamedTuple):
    """One bit."""

    at: int
    bit: int

    def apply(self, content: bytes) -> bytes:
        at = self.at % max(len(content), 1)
        return content[:at] + bytes(byte ^ 1 << self.bit for byte in content[at : at + 1]) + content[at + 1 :]


class Cut(NamedTuple):
    """The file ends too early."""

    at: int

    def apply(self, content: bytes) -> bytes:
        return content[: self.at % max(len(content), 1)]


class Replace(NamedTuple):
    """Some bytes are others, more or fewer."""

    at: int
    length: int
    piece: bytes

    def apply(self, content: bytes) -> bytes:
        at = self.at % max(len(content), 1)
        return content[:at] + self.piece + content[at + self.length :]


class Repeat(NamedTuple):
    """Some bytes come again and again."""

    at: int
    length: int
    times: int

    def apply(self, content: bytes) -> bytes:
        at = self.at % max(len(content), 1)
        return content[:at] + content[at : at + self.length] * self.times + content[at + self.length :]


class Number(NamedTuple):
    """One of the numbers of a text is another."""

    which: int
    number: bytes

    def apply(self, content: bytes) -> bytes:
        found = list(re.finditer(rb"-?\d+(\.\d+)?", content[: 1 << 16]))
        if not found:
            return content
        start, end = found[self.which % len(found)].span()
        return content[:start] + self.number + content[end:]


class Value(NamedTuple):
    """One of the values of a JSON text, or of one of its lines, is another, or not there."""

    which: int
    value: int
    gone: bool

    def apply(self, content: bytes) -> bytes:
        lines = content.splitlines() if b"}\n{" in content else [content]
        row = self.which % max(len(lines), 1)
        try:
            whole = json.loads(lines[row])
        except (ValueError, IndexError, RecursionError):
            return content
        places = list(_places(whole))
        *way, last = places[self.which % len(places)] if places else [None]
        if last is None:
            whole = VALUES[self.value % len(VALUES)]
        else:
            inner = whole
            for step in way:
                inner = inner[step]
            if self.gone:
                del inner[last]
            else:
                inner[last] = copy.copy(VALUES[self.value % len(VALUES)])
        lines[row] = json.dumps(whole).replace(f'"{DEEP}"', "[" * 3000 + "]" * 3000).encode()
        return b"\n".join(lines) + b"\n"


def _places(value: Any, way: tuple[Any, ...] = ()) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if way:
        yield way
    for key, item in items:
        yield from _places(item, (*way, key))


PLACES = st.integers(0, 1 << 20)
EDITS = st.one_of(
    st.builds(Flip, PLACES, st.integers(0, 7)),
    st.builds(Cut, PLACES),
    st.builds(Replace, PLACES, st.integers(0, 64), st.sampled_from(PIECES) | st.binary(max_size=12)),
    st.builds(Repeat, PLACES, st.integers(1, 256), st.sampled_from([2, 3, 200])),
)
TEXT_EDITS = EDITS | st.builds(Number, PLACES, st.sampled_from(NUMBERS))
JSON_EDITS = st.builds(Value, PLACES, st.integers(0, 63), st.booleans()) | TEXT_EDITS


def damaged(content: bytes, edits: list[Any]) -> bytes:
    """The content after all edits."""
    for edit in edits:
        content = edit.apply(content)
    return content
