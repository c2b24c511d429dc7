"""Which rows count: those of the segments and of the tail that were neither replaced nor removed since.

Every change makes new arrays of what is dead, so that the views somebody has taken stay as they were.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from circlet.vectors.exact import Bools, View
from circlet.vectors.journal import PUT, Record
from circlet.vectors.protocol import Floats
from circlet.vectors.segment import Segment, gathered
from circlet.vectors.tail import Ints, Tail
from circlet.vectors.texts import hashes, name_of

_NONE: Ints = np.empty(0, np.int64)


class Places(NamedTuple):
    """Where some names are: (n,) number of the source and (n,) row in it, both -1 for one that is not there."""

    source: Ints
    row: Ints


class State:
    """The segments, earliest first, the tail, and what of them is dead."""

    def __init__(self, dim: int, segments: Sequence[Segment]) -> None:
        self.segments, self.tail = list(segments), Tail(dim)
        self.dead = self._dead_by_segments()
        self.next_order = max((int(each.order.max()) + 1 for each in self.segments if len(each)), default=0)

    @property
    def sources(self) -> list[Segment | Tail]:
        """Segments, and the tail last."""
        return [*self.segments, self.tail]

    def views(self) -> list[View]:
        """All sources as they are now."""
        return [View(source, len(source), dead) for source, dead in zip(self.sources, self.dead, strict=True)]

    def alive(self, number: int) -> Ints:
        """The rows of a source that count."""
        return np.delete(np.arange(len(self.sources[number])), self.dead[number])

    def in_order(self) -> list[tuple[Segment | Tail, int]]:
        """(source, row) of all that counts, in order of addition."""
        sources = self.sources
        alive = [self.alive(number) for number in range(len(sources))]
        order = np.concatenate([source.order[rows] for source, rows in zip(sources, alive, strict=True)])
        by_order = np.argsort(order, kind="stable")
        owners = np.repeat(np.arange(len(sources)), [len(rows) for rows in alive])[by_order].tolist()
        rows = np.concatenate(alive)[by_order].tolist()
        return [(sources[owner], row) for owner, row in zip(owners, rows, strict=True)]

    def find(self, names: list[bytes]) -> Places:
        """Where some names are."""
        found = Places(np.full(len(names), -1, np.int64), np.full(len(names), -1, np.int64))
        hashed = hashes(names)
        for number in range(len(self.segments), -1, -1):
            waits = np.flatnonzero(found.source < 0)
            if not len(waits):
                break
            rows = self.sources[number].find([names[i] for i in waits.tolist()], hashed[waits])
            counts = (rows >= 0) & ~_contains(self.dead[number], rows)
            found.source[waits[counts]] = number
            found.row[waits[counts]] = rows[counts]
        return found

    def rows(self, places: Places) -> Floats:
        """The (n, dim) vectors at some places, checked."""
        return gathered(self.tail.vectors.shape[1], self.sources, places.source, places.row)

    def changed(self, texts: list[bytes], vectors: Floats) -> Ints:
        """Which of (n,) items, packed, and their vectors are not there as they are."""
        places = self.find([name_of(text) for text in texts])
        there = np.flatnonzero(places.source >= 0)
        same = [self.sources[s].text(r) == texts[i]
                for i, s, r in zip(there.tolist(), places.source[there].tolist(), places.row[there].tolist(),
                                   strict=True)]  # fmt: skip
        there = there[np.array(same, bool)]
        equal = [_NONE]
        for part in np.split(there, range(4096, len(there), 4096)):
            rows = self.rows(Places(places.source[part], places.row[part]))
            equal.append(part[(rows == vectors[part]).all(axis=1)])
        return np.setdiff1d(np.arange(len(texts)), np.concatenate(equal))

    def apply(self, record: Record) -> None:
        """Do what a record says."""
        places = self.find([name_of(text) for text in record.texts])
        if record.kind == PUT:
            assert record.vectors is not None
            order = self.order_of(places)
            self.kill(places)
            self.tail.add(record.texts, record.vectors, order)
        else:
            self.kill(places)

    def order_of(self, places: Places) -> Ints:
        """The order of what is put at some places: that of what is replaced, else at the end; counts on."""
        order: Ints = np.empty(len(places.row), np.int64)
        for number in np.unique(places.source).tolist():
            wanted = np.flatnonzero(places.source == number)
            if number < 0:
                order[wanted] = np.arange(self.next_order, self.next_order + len(wanted))
                self.next_order += len(wanted)
            else:
                order[wanted] = self.sources[number].order[places.row[wanted]]
        return order

    def kill(self, places: Places) -> None:
        """Have the rows at some places count no more; -1 is passed over."""
        for number in np.unique(places.source[places.source >= 0]).tolist():
            rows = places.row[places.source == number]
            self.dead[number] = np.union1d(self.dead[number], rows)

    def removed(self, kept: int) -> Ints:
        """(m, 2): what is dead in the first `kept` segments, as number of the segment and row, if they do not say so.

        That is, all that their successors, once merged, must say themselves.
        """
        known = _removed_by_number(self.segments[:kept])
        parts = [np.empty((0, 2), np.int64)]
        for segment, dead in zip(self.segments[:kept], self.dead, strict=False):
            rows = np.setdiff1d(dead, np.concatenate([_NONE, *known.get(segment.number, [])]))
            parts.append(np.stack([np.full(len(rows), segment.number), rows], axis=1))
        return np.concatenate(parts)

    def _dead_by_segments(self) -> list[Ints]:
        """What the segments say of each other; a ValueError for a row that none of them has."""
        said = _removed_by_number(self.segments)  # of segments that have been merged since, too
        dead = [np.unique(np.concatenate([_NONE, *said.get(each.number, [])])) for each in self.segments]
        for segment, rows in zip(self.segments, dead, strict=True):
            if len(rows) and (rows[0] < 0 or rows[-1] >= len(segment)):
                raise ValueError(f"{segment.path}: found rows removed that are not there, expected {len(segment)} rows")
        return [*dead, _NONE]


def _removed_by_number(segments: Sequence[Segment]) -> dict[int, list[Ints]]:
    """The rows that some segments say are removed, by the number of the segment that they are in."""
    found: dict[int, list[Ints]] = {}
    for segment in segments:
        for number in np.unique(segment.removed[:, 0]).tolist():
            found.setdefault(number, []).append(segment.removed[segment.removed[:, 0] == number, 1])
    return found


def _contains(ascending: Ints, rows: Ints) -> Bools:
    """Which of the rows are in an ascending array."""
    if not len(ascending):
        return np.zeros(len(rows), bool)
    places = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)
    found: Bools = ascending[places] == rows
    return found
