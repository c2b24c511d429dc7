"""A store that is kept nowhere: for an index that is built to be searched at once, or to be saved later."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from circlet.vectors import Floats, Hits, Item
from circlet.vectors.checks import check_items, check_k, check_names, check_rows, no_such_name
from circlet.vectors.exact import nearest
from circlet.vectors.journal import PUT, REMOVE, Record
from circlet.vectors.searching import hits
from circlet.vectors.state import State
from circlet.vectors.texts import packed, unpacked

_DEAD = 1024  # rows that may be kept for nothing


class MemoryStore:
    """A `circlet.vectors.Store` in memory: what the embedded store has of its journal, without the journal.

    >>> store = MemoryStore(2)
    >>> store.put([Item("a"), Item("b")], np.eye(2, dtype=np.float32))
    >>> store.search(np.array([[1, 0]], np.float32), 1).items
    [[Item(name='a', label='', content='')]]
    """

    location = "an index in memory"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._state = State(dim, [])
        self._meta: dict[str, Any] = {}

    def __len__(self) -> int:
        return sum(view.num_alive for view in self._state.views())

    def meta(self) -> dict[str, Any]:
        """What `set_meta` was given last."""
        return dict(self._meta)

    def set_meta(self, meta: dict[str, Any]) -> None:
        """Replace the settings."""
        self._meta = dict(meta)

    def put(self, items: Sequence[Item], vectors: Floats) -> None:
        """Add or replace by name."""
        check_items(items)
        rows = check_rows("vectors", vectors, self.dim, len(items))
        self._do(Record(PUT, [packed(Item(*item)) for item in items], rows))

    def remove(self, names: Sequence[str]) -> int:
        """Remove by name; how many there were."""
        wanted = [name.encode() for name in dict.fromkeys(check_names(names))]
        before = len(self)
        self._do(Record(REMOVE, wanted, None))
        return before - len(self)

    def search(self, queries: Floats, k: int) -> Hits:
        """The k most similar of each query."""
        check_k(k)
        views = self._state.views()
        return hits(views, nearest(views, check_rows("queries", queries, self.dim), k), k)

    def items(self) -> list[Item]:
        """All, in order of addition."""
        return [unpacked(source.text(row)) for source, row in self._state.in_order()]

    def vectors(self, names: Sequence[str]) -> Floats:
        """(n, dim) rows by name."""
        places = self._state.find([name.encode() for name in check_names(names)])
        if (places.source < 0).any():
            no_such_name(self.location, names[int(np.flatnonzero(places.source < 0)[0])])
        return self._state.rows(places)

    def close(self) -> None:
        """Nothing to let go of."""

    def _do(self, record: Record) -> None:
        self._state.apply(record)
        if len(self._state.dead[0]) > max(_DEAD, len(self)):  # without them, so that memory follows what is there
            items = self.items()
            rows, self._state = self.vectors([item.name for item in items]), State(self.dim, [])
            self._state.apply(Record(PUT, [packed(item) for item in items], rows))
