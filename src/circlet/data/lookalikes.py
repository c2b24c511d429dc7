"""Class names that look the same and are not: blanks at the ends, other blanks, other normal forms of Unicode."""

import re
import unicodedata
from collections.abc import Iterable

_JOINERS = "\u200c\u200d"  # they part and join letters of many scripts, and are seen there
_JOINERS_OF_NOTHING = re.compile(f"(?<![^\x00-\x7f])[{_JOINERS}]+")


def lookalikes(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two different names that look the same, or None.

    >>> lookalikes(["cat", "dog", "cat "])
    ('cat', 'cat ')

    Blanks are alike, how many there are and of which kind; those at the ends of a name, or of a folder in it, do not
    show. What has no width does not show, but for joiners after letters beyond ASCII, which change their form (in
    Persian and Malayalam, say). A letter with an accent is the same as a letter and an accent.
    """
    first: dict[str, str] = {}
    for name in names:
        earlier = first.setdefault(_look(name), name)
        if earlier != name:
            return earlier, name
    return None


def _look(name: str) -> str:
    if not name.isascii():
        composed = unicodedata.normalize("NFC", name)
        seen = "".join(each for each in composed if each in _JOINERS or unicodedata.category(each) != "Cf")
        name = _JOINERS_OF_NOTHING.sub("", seen)
    return "/".join(" ".join(part.split()) for part in name.split("/"))
