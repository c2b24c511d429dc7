"""Names of others made harmless: as text that every file can hold, and as text that a terminal may show.

A file name is any bytes. Python hands those that are no UTF-8 over as lone surrogates, which no file in UTF-8 can hold,
and lets newlines and escape sequences through, which a terminal obeys. Names are made `storable` where they are read
from a disk, and `printable` where they are printed; a name that is used to open a file stays as it is.
"""

import sys
import unicodedata
from functools import cache

_SHOWN_FORMATS = "\u200c\u200d"  # join and part letters, and make emoji: text needs them


def storable(name: str) -> str:
    r"""`name` with `\xNN` for each byte that is no UTF-8, and `\uNNNN` for any other lone surrogate.

    >>> import os
    >>> storable(os.fsdecode(b"caf\xe9.jpg")), storable("café.jpg")
    ('caf\\xe9.jpg', 'café.jpg')
    """
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        return "".join(_escaped(each) if "\ud800" <= each <= "\udfff" else each for each in name)
    return name


def printable(text: str) -> str:
    r"""`text` on one line, without what a terminal obeys: control and format characters and lone surrogates escaped.

    >>> print(printable("a\nb\x1b[2J\u202egnp.exe"))
    a\nb\x1b[2J\u202egnp.exe

    For names, and for messages that hold some; a text of several lines is to be made of printable parts.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(each) if _is_obeyed(each) else each for each in text)


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _SHOWN_FORMATS


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte, as os.fsdecode hides it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def say(text: str) -> None:
    """Print one line on standard error, safe for a terminal, at once."""
    print(printable(text), file=sys.stderr, flush=True)


@cache
def say_once(text: str) -> None:
    """`say`, unless this process has done so before."""
    say(text)
