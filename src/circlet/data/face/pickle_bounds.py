"""What a pickle may ask for, looked at before any of it is unpickled: instructions of plain values, lengths that the
file has, a memo no longer than the file. Nothing is run or kept here.

Unpickling believes what it reads: nine bytes of a memo index take 4 GB.
"""

import pickle
import pickletools
from typing import Any

_MOST_INSTRUCTIONS = 3_000_000  # a few dozen for each image of a verification file; of lists, 72 bytes each

_VALUES = (
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
)
_ARRAYS = ("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD")  # of the names that `circlet.data.face.plain_pickle` knows
_STORES = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_OTHERS = ("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "GET", "BINGET", "LONG_BINGET")
_ALLOWED = frozenset((*_VALUES, *_ARRAYS, *_STORES, *_OTHERS))


def check_instructions(file: Any, size: int) -> None:
    """Raise an UnpicklingError, or another error of a damaged pickle, unless a file of that many bytes may be read.

    >>> import io
    >>> content = b"]r\\xff\\xff\\xff\\x1f."
    >>> check_instructions(io.BytesIO(content), len(content))
    Traceback (most recent call last):
    _pickle.UnpicklingError: it stores a value as number 536,870,911 at byte 1, expected at most 2

    file: io.BytesIO or a memory map, which give no more than they have, whatever length they are asked for.
    """
    for number, (instruction, argument, at) in enumerate(pickletools.genops(file), 1):
        name = instruction.name
        if name not in _ALLOWED:
            raise pickle.UnpicklingError(f"it has the instruction {name} at byte {at}, expected those of plain values")
        if number > _MOST_INSTRUCTIONS:
            raise pickle.UnpicklingError(f"it has more than {_MOST_INSTRUCTIONS:,} instructions")
        if name in _STORES and isinstance(argument, int) and not 0 <= argument <= number:
            raise pickle.UnpicklingError(f"it stores a value as number {argument:,} at byte {at}, "
                                         f"expected at most {number}")  # fmt: skip
        if name == "FRAME" and isinstance(argument, int) and argument > size:
            raise pickle.UnpicklingError(f"it has a frame of {argument:,} bytes, expected at most {size:,}")
