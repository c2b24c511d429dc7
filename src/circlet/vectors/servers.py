"""What the stores in a database share: keys for names, settings out of text, and some words."""

import json
from hashlib import blake2b
from typing import Any, NoReturn

FORMAT = 1
"""Version of how vectors lie in a database; another one is refused."""
AGAIN = "once that is mended, give the same command again; what was stored is kept, and nothing is stored twice"


def key(name: str) -> bytes:
    """Sixteen bytes that stand for a name: always the same ones, and others for another name.

    A name of any length and any characters then never becomes part of a statement or of an index.
    """
    return blake2b(name.encode(), digest_size=16).digest()


def unpacked_meta(text: str, place: str) -> dict[str, Any]:
    """Settings from text; a ValueError that begins with `place` where it is none of `packed_meta`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{place}: found settings that are no JSON object, expected them as circlet writes them")
    return found


def check_dim(place: str, found: int, wanted: int | None) -> int:
    """The numbers in a vector of a store, which must be those wanted."""
    if wanted is not None and found != wanted:
        raise ValueError(f"{place}: found vectors of {found} numbers, expected {wanted}: it is of another network")
    return found


def not_ours(place: str, what: str) -> NoReturn:
    """Raise the ValueError for a table or collection that something else has made."""
    raise ValueError(f"{place}: found a {what} that circlet has not made, expected one of circlet or no such {what}")


def nothing_there(place: str, what: str) -> NoReturn:
    """Raise the FileNotFoundError for a table or collection that is not there."""
    raise FileNotFoundError(f"{place}: found no such {what}, expected an index that was made before")


def check_version(place: str, found: int) -> None:
    """Refuse what another version of circlet has made."""
    if found != FORMAT:
        raise ValueError(f"{place}: found version {found}, expected {FORMAT}: made by another version of circlet")


def was_closed(place: str) -> NoReturn:
    """Raise the ValueError for what is asked of a store after `close`."""
    raise ValueError(f"{place}: found this store closed, expected it open")
