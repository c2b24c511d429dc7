"""What opening a set has to say: a sentence on standard error, by one process of a run and once; and names in it."""

import os
from collections.abc import Sequence
from functools import cache

from circlet.terminal import say

_LONGEST = 80  # characters of one text


@cache
def say_once(sentence: str) -> None:
    """Print a sentence on standard error, unless this process has done so, or another rank of torchrun does."""
    if os.environ.get("RANK", "0") == "0":
        say(sentence)


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first few names, and how many more there are.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c, and 2 more'
    """
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f", and {more} more" if more > 0 else "")


def cut(text: str) -> str:
    """Text as messages give it: not more than 80 characters."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def shown(text: str) -> str:
    """Text as messages quote it: not more than 80 characters."""
    return repr(cut(text))
