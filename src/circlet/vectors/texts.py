"""Items as bytes, and the hash by which a name is found."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from circlet.vectors.protocol import Item

Words = npt.NDArray[np.uint64]


def packed(item: Item) -> bytes:
    """Name, label and content, which hold no zero character, with one between them.

    >>> packed(Item("a.jpg", "cat", "0f"))
    b'a.jpg\\x00cat\\x000f'
    """
    return "\0".join(item).encode()


def unpacked(raw: bytes) -> Item:
    """The item out of its bytes; a ValueError if there is none in them."""
    try:
        name, label, content = raw.decode().split("\0")
    except ValueError:
        raise ValueError(f"found {len(raw)} bytes that are no item, expected a name, a label and a digest") from None
    return Item(name, label, content)


def name_of(raw: bytes) -> bytes:
    """The name in the bytes of an item."""
    return raw.partition(b"\0")[0]


def hashes(names: Sequence[bytes]) -> Words:
    """64 bits of BLAKE2b of each of (n,) names: two names may share them, so whoever finds one compares the names."""
    return np.frombuffer(b"".join(blake2b(name, digest_size=8).digest() for name in names), "<u8")
