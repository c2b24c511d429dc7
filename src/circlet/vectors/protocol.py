"""What a store of vectors is: named unit rows with a label each, their neighbours, and a few settings beside them.

Three stores keep to it: the embedded folder, Milvus and PostgreSQL; `circlet.vectors.open_store` opens any of them.
What a vector is of, and which network made it, a store does not know: who fills it says so in `meta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Item(NamedTuple):
    """What is known of a vector.

    name: unique in a store: a path relative to the folder that was indexed, or any other text. label: its class, ""
    where none is known. content: hexadecimal digest of the image's content, "" where it is unknown.
    """

    name: str
    label: str = ""
    content: str = ""


class Hits(NamedTuple):
    """What a search found, best first: similarity (q, k) float32, -inf where there are fewer; q lists of items."""

    similarity: Floats
    items: list[list[Item]]


@runtime_checkable
class Store(Protocol):
    """A store that is open. Vectors are unit rows, float32 (n, dim), so that an inner product is a cosine.

    Errors: ValueError for an argument, and for stored data that is damaged, of another version or none of ours;
    OSError for what the disk or the server refuses (ConnectionError for a server that is down; it says what to do).
    """

    @property
    def dim(self) -> int:
        """Numbers in a vector."""

    @property
    def location(self) -> str:
        """As given to `open_store`."""

    def __len__(self) -> int:
        """Number of vectors."""

    def meta(self) -> dict[str, Any]:
        """What `set_meta` was given last: JSON values by name; {} before."""

    def set_meta(self, meta: dict[str, Any]) -> None:
        """Replace the settings by others, durably and at once: never half of them."""

    def put(self, items: Sequence[Item], vectors: Floats) -> None:
        """Add (n,) items with their (n, dim) unit rows; one whose name is there already takes its place.

        All of a call or nothing of it, and on the disk when it returns; repeating a call changes nothing.
        """

    def remove(self, names: Sequence[str]) -> int:
        """Remove items by name, those that are there; how many that were."""

    def search(self, queries: Floats, k: int) -> Hits:
        """The k most similar items of each of (q, dim) unit rows; equal similarities by order of addition."""

    def items(self) -> list[Item]:
        """All items, in order of addition; one that was replaced keeps its place."""

    def vectors(self, names: Sequence[str]) -> Floats:
        """The (n, dim) vectors of items by name; a ValueError names the first that is not there."""

    def close(self) -> None:
        """Let go of files, locks and connections; closing again does nothing."""
