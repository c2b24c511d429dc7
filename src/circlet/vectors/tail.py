"""What has been added since the last segment was written: rows in memory, as the journal holds them on disk."""

import numpy as np
import numpy.typing as npt

from circlet.vectors.protocol import Floats
from circlet.vectors.texts import Words, hashes, name_of

Ints = npt.NDArray[np.int64]


class Tail:
    """(n, dim) rows with their order and items, which grows at its end; what was there stays as and where it was.

    So a reader that remembers n sees the same rows for ever, whatever another thread adds.
    """

    def __init__(self, dim: int) -> None:
        self.texts: list[bytes] = []
        self._vectors: Floats = np.empty((16, dim), np.float32)
        self._order: Ints = np.empty(16, np.int64)
        self._rows: dict[bytes, int] = {}  # of each name the last one

    @staticmethod
    def of(texts: list[bytes], vectors: Floats, order: Ints) -> "Tail":
        """One of rows that are not copied."""
        tail = Tail(vectors.shape[1])
        tail._vectors, tail._order, tail.texts = vectors, order, texts
        return tail

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def vectors(self) -> Floats:
        """(n, dim) float32."""
        return self._vectors[: len(self)]

    @property
    def order(self) -> Ints:
        """(n,) places in the order of addition."""
        return self._order[: len(self)]

    def add(self, texts: list[bytes], vectors: Floats, order: Ints) -> None:
        """Add (n,) items with their rows."""
        first, count = len(self), len(self) + len(texts)
        if count > len(self._vectors):  # new arrays: others may be reading the old ones
            size = max(count, 2 * len(self._vectors))
            grown = np.empty((size, self._vectors.shape[1]), np.float32)
            grown[:first], self._vectors = self._vectors[:first], grown
            longer = np.empty(size, np.int64)
            longer[:first], self._order = self._order[:first], longer
        self._vectors[first:count] = vectors
        self._order[first:count] = order
        self._rows.update((name_of(text), first + i) for i, text in enumerate(texts))
        self.texts += texts

    def text(self, row: int) -> bytes:
        """The item of a row, packed."""
        return self.texts[row]

    def find(self, names: list[bytes], hashed: Words | None = None) -> Ints:
        """The last row of each name, -1 where there is none."""
        return np.fromiter((self._rows.get(name, -1) for name in names), np.int64, len(names))

    def row_hashes(self) -> Words:
        """The hash of the name of each row."""
        return hashes([name_of(text) for text in self.texts])

    def check(self, rows: object = None) -> None:
        """Nothing to check: the journal's checksum has been."""
