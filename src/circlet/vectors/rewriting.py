"""From one state of the store to the next: new files beside those that are there, which a new manifest then names.

Rows are written again only together with as many new ones, or twice as few: so of n rows each is written some log n
times. A segment with an approximate index stays until `compact`, since its index goes with it.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from circlet.vectors.journal import PUT, Record, create_journal
from circlet.vectors.manifest import Manifest, SegmentEntry, file_of
from circlet.vectors.segment import Segment, write_segment
from circlet.vectors.state import State
from circlet.vectors.tail import Ints, Tail
from circlet.vectors.texts import name_of

Advance = Callable[[int], object]


def nothing(count: int) -> None:
    """Nobody wants to know how many rows are done."""


class Rewritten(NamedTuple):
    """The next state, once its manifest has been written."""

    manifest: Manifest
    state: State


def rewritten(
    folder: Path,
    manifest: Manifest,
    state: State,
    record: Record | None,
    merged: int | None,
    advance: Advance,
    written: list[Path],
) -> Rewritten:
    """Write the tail, what a record puts, and the last `merged` segments (None: the small ones) as one segment.

    advance: told of rows done. written: the files made, in case that anything fails, are added to it.
    """
    state, extra = _with_record(manifest.dim, state, record)
    alive = [state.alive(i) for i in range(len(state.sources))]
    if merged is None:
        merged = _small_ones(state, manifest, len(alive[-1]) + len(extra))
    kept = len(state.segments) - merged
    segments, entries = state.segments[:kept], manifest.segments[:kept]
    chosen, removed = [*alive[kept:], np.arange(len(extra))], state.removed(kept)
    if len(removed) or any(map(len, chosen)):
        written.append(file_of(folder, "segment", manifest.next))
        write_segment(written[-1], manifest.dim, [*state.sources[kept:], extra], chosen, removed, advance)
        segments = [*segments, Segment(written[-1])]
        entries = (*entries, SegmentEntry(manifest.next, segments[-1].crc))
    written.append(file_of(folder, "journal", manifest.next + 1))
    create_journal(written[-1], manifest.dim)
    after = State(manifest.dim, segments)
    after.next_order = max(after.next_order, state.next_order)
    covered = any(segment.number == manifest.covers for segment in segments)
    new = replace(
        manifest,
        next=manifest.next + 2,
        journal=manifest.next + 1,
        segments=entries,
        approximate=manifest.approximate if covered else None,
        covers=manifest.covers if covered else None,
    )
    return Rewritten(new, after)


def _with_record(dim: int, state: State, record: Record | None) -> tuple[State, Tail]:
    """A copy of a state after a record, and what that puts: rows that are not copied."""
    after = copy(state)
    after.dead = list(state.dead)
    if record is None:
        return after, Tail(dim)
    places = after.find([name_of(text) for text in record.texts])
    order: Ints = after.order_of(places) if record.kind == PUT else np.empty(0, np.int64)
    after.kill(places)
    if record.vectors is None:
        return after, Tail(dim)
    return after, Tail.of(record.texts, record.vectors, order)


def _small_ones(state: State, manifest: Manifest, count: int) -> int:
    """How many of the last segments go into the next one, of `count` rows so far: none that is twice as large."""
    merged = 0
    for segment in reversed(state.segments):
        if segment.number == manifest.covers or len(segment) > 2 * count:
            break
        count += len(segment)
        merged += 1
    return merged
