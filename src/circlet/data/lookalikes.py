"""Class names that look the same and are not: blanks at the ends, other blanks, other normal forms of Unicode."""

import unicodedata
from collections.abc import Iterable


def lookalikes(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two different names that look the same, or None.

    >>> lookalikes(["cat", "dog", "cat "])
    ('cat', 'cat ')

    Blanks are alike, how many there are and of which kind; those at the ends of a name, or of a folder in it, do not
    show. What has no width does not show, and a letter with an accent is the same as a letter and an accent.
    """
    first: dict[str, str] = {}
    for name in names:
        earlier = first.setdefault(_look(name), name)
        if earlier != name:
            return earlier, name
    return None


def _look(name: str) -> str:
    if not name.isascii():
        name = "".join(each for each in unicodedata.normalize("NFC", name) if unicodedata.category(each) != "Cf")
    return "/".join(" ".join(part.split()) for part in name.split("/"))
