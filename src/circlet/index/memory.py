"""A store that is kept nowhere: for an index that is built to be searched at once, or to be saved later."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from circlet.vectors import Floats, Hits, Item


class MemoryStore:
    """A `circlet.vectors.Store` in memory; searched exactly.

    >>> store = MemoryStore(2)
    >>> store.put([Item("a"), Item("b")], np.eye(2, dtype=np.float32))
    >>> store.search(np.array([[1, 0]], np.float32), 1).items
    [[Item(name='a', label='', content='')]]
    """

    location = "an index in memory"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._items: dict[str, Item] = {}
        self._rows: dict[str, Floats] = {}
        self._matrix: Floats | None = None
        self._meta: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._items)

    def meta(self) -> dict[str, Any]:
        """What `set_meta` was given last."""
        return dict(self._meta)

    def set_meta(self, meta: dict[str, Any]) -> None:
        """Replace the settings."""
        self._meta = dict(meta)

    def put(self, items: Sequence[Item], vectors: Floats) -> None:
        """Add or replace by name."""
        if vectors.shape != (len(items), self.dim):
            raise ValueError(f"vectors: found {vectors.shape}, expected ({len(items)}, {self.dim})")
        for item, row in zip(items, np.array(vectors, np.float32), strict=True):
            self._items[item.name], self._rows[item.name] = item, row
        self._matrix = None

    def remove(self, names: Sequence[str]) -> int:
        """Remove by name; how many there were."""
        there = [name for name in set(names) if name in self._items]
        for name in there:
            del self._items[name], self._rows[name]
        self._matrix = None
        return len(there)

    def search(self, queries: Floats, k: int) -> Hits:
        """The k most similar of each query."""
        if self._matrix is None:
            self._matrix = np.array(list(self._rows.values()), np.float32).reshape(-1, self.dim)
        found = np.asarray(queries, np.float32) @ self._matrix.T
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        similarity = np.full((len(found), k), -np.inf, np.float32)
        similarity[:, : order.shape[1]] = np.take_along_axis(found, order, axis=1)
        items = self.items()
        return Hits(similarity, [[items[place] for place in row] for row in order.tolist()])

    def items(self) -> list[Item]:
        """All, in order of addition."""
        return list(self._items.values())

    def vectors(self, names: Sequence[str]) -> Floats:
        """(n, dim) rows by name."""
        if missing := next((name for name in names if name not in self._rows), None):
            raise ValueError(f"names: found {missing!r}, expected one that is there")
        return np.array([self._rows[name] for name in names], np.float32).reshape(-1, self.dim)

    def close(self) -> None:
        """Nothing to let go of."""
