"""The store that needs no server: a folder that one process writes at a time, and any number read.

    circlet-vectors.json        which of the files count, and the settings: `manifest`
    segment-000003.vectors      rows with their items, memory-mapped, never changed: `segment`
    journal-000004.records      what was put and removed since, one record a call: `journal`
    approximate-000005.codes    the index of a large segment, if there is one: `approximate`

A call is on the disk when it returns. A small one appends to the journal; once that is large, or for a call that is
large itself, the rows go into a segment, together with the segments that are small beside it, so that of n rows each is
written again some log n times and never 2 GB for one image. The manifest is replaced at the end: whoever is killed at
any moment leaves the state before the call or the one after it.

Threads may share a store: a search sees the state at its beginning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from circlet.progress import progress, silenced
from circlet.typed import naming
from circlet.vectors import manifest as manifests
from circlet.vectors.checks import check_items, check_k, check_names, check_rows, check_writable, no_such_name
from circlet.vectors.folder import begin, opened, remove_unused, require_room
from circlet.vectors.holding import Held
from circlet.vectors.journal import EMPTY, MAX_BYTES, PUT, REMOVE, JournalWriter, Record
from circlet.vectors.manifest import file_of
from circlet.vectors.merging import merge
from circlet.vectors.protocol import Floats, Hits, Item, Store
from circlet.vectors.rewriting import Advance, nothing, rewritten
from circlet.vectors.searching import Searcher, SearchQuality, hits
from circlet.vectors.texts import packed, unpacked

JOURNAL_BYTES = 1 << 25
"""From this size on a journal becomes a segment: it is read whole, and its rows held in memory."""


def open_embedded(location: str, dim: int | None, create: bool, read_only: bool) -> EmbeddedStore:
    """Open a folder as a store; arguments and errors as of `circlet.vectors.open_store`."""
    folder = Path(location)
    if create and dim is not None and not (folder / manifests.NAME).exists():
        require_room(folder, dim)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        manifests.read_manifest(folder)  # before a lock is left in a folder that is none of ours
    held = None if read_only else Held(folder)
    try:
        if create and dim is not None and not (folder / manifests.NAME).exists():
            begin(folder, dim)
        store = EmbeddedStore(location, held)
        if dim is not None and store.dim != dim:
            store.close()
            raise ValueError(f"{location}: found vectors of {store.dim} numbers, expected {dim}")
        return store
    except BaseException:
        if held:
            held.release()
        raise


class EmbeddedStore:
    """A folder of vectors that is open; `open_store` opens one, and makes one with `create`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, open_embedded(f"{folder}/index", 2, True, False) as store:
    ...     store.put([Item("a.jpg", "cat"), Item("b.jpg", "dog")], np.float32([[1, 0], [0, 1]]))
    ...     store.search(np.float32([[0.6, 0.8]]), k=1)
    Hits(similarity=array([[0.8]], dtype=float32), items=[[Item(name='b.jpg', label='dog', content='')]])

    All of `circlet.vectors.Store`, and what only this one does: `compact`, `merge`, `search_quality`, Parquet.
    """

    def __init__(self, location: str, held: Held | None) -> None:
        self.location, self.folder = location, Path(location)
        self._held, self._lock, self._closed, self._why = held, threading.RLock(), False, ""
        self._manifest, self._meta, self._state, end = opened(self.folder)
        self._searcher = Searcher(self.folder, self._manifest, self._state.segments)
        self._seen = self._state.views(), self._searcher  # replaced as a whole: who searches waits for nobody
        self._journal: JournalWriter | None = None
        if held:
            remove_unused(self.folder, self._manifest)
            self._journal = JournalWriter(file_of(self.folder, "journal", self._manifest.journal), end)

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self._manifest.dim

    def __len__(self) -> int:
        return sum(view.num_alive for view in self._seen[0])

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()

    def meta(self) -> dict[str, Any]:
        """What `set_meta` was given last; {} before."""
        with self._lock:
            return manifests.plain_meta(self._meta)  # a copy

    def set_meta(self, meta: dict[str, Any]) -> None:
        """Replace the settings by others, durably and at once."""
        plain = manifests.plain_meta(meta)
        with self._writing():
            manifests.write_manifest(self.folder, self._manifest, plain)
            self._meta = plain

    def put(self, items: Sequence[Item], vectors: Floats) -> None:
        """Add (n,) items with their (n, dim) unit rows; one whose name is there already takes its place and order.

        All of them or none, and on the disk when it returns. What is there already as it is, is not written again.

        Raises ValueError for items or rows that cannot be, OSError where they could not be written.
        """
        items = list(items)
        check_items(items)
        rows = check_rows("vectors", vectors, self.dim, len(items))
        texts = [packed(item) for item in items]
        with self._writing() as journal:
            changed = self._state.changed(texts, rows)
            if not len(changed):
                return
            if len(changed) < len(texts):
                texts, rows = [texts[i] for i in changed.tolist()], rows[changed]
            self._do(journal, Record(PUT, texts, rows))

    def remove(self, names: Sequence[str]) -> int:
        """Remove items by name, those that are there; how many that were. On the disk when it returns."""
        wanted = [name.encode() for name in dict.fromkeys(check_names(names))]
        with self._writing() as journal:
            there = self._state.find(wanted).source >= 0
            if there.any():
                self._do(journal, Record(REMOVE, [wanted[i] for i in np.flatnonzero(there).tolist()], None))
            return int(there.sum())

    def search(self, queries: Floats, k: int, *, exact: bool = False) -> Hits:
        """The k most similar items of each of (q, dim) unit rows; equal similarities by order of addition.

        Exact while there is no approximate index (`compact` makes one for many vectors), for k above what it was
        measured for, and with `exact`; `search_quality` says which it is, and what of the neighbours is found.

        Raises ValueError for queries or k that cannot be, and for vectors that are damaged on the disk.
        """
        check_k(k)
        rows = check_rows("queries", queries, self.dim)
        self._require_open()
        views, searcher = self._seen
        found = searcher.search(views, rows, k, exact=exact)
        with naming(self.location):  # of items that are none, behind checksums that somebody has made right
            return hits(views, found, k)

    def items(self) -> list[Item]:
        """All items, in order of addition; one that was replaced keeps its place."""
        with self._lock:
            self._require_open()
            rows = self._state.in_order()
        with naming(self.location):
            return [unpacked(source.text(row)) for source, row in rows]

    def vectors(self, names: Sequence[str]) -> Floats:
        """The (n, dim) vectors of items by name; a ValueError names the first that is not there."""
        wanted = check_names(names)
        with self._lock:
            self._require_open()
            places = self._state.find([name.encode() for name in wanted])
            if (places.source < 0).any():
                no_such_name(self.location, wanted[int(np.flatnonzero(places.source < 0)[0])])
            return self._state.rows(places)

    def compact(self, *, show_progress: bool = True) -> None:
        """Write all vectors into one segment without what was replaced or removed, and index it if it is large.

        Needs room on the disk for all of them once more. Nothing is done where nothing has changed since.
        """
        with self._writing(), silenced(not show_progress):
            state = self._state
            if len(state.segments) != 1 or len(state.tail) or len(state.dead[0]):
                with progress("vectors", len(self)) as shown:
                    self._write_down(None, merged=len(state.segments), advance=shown.advance)
            self._searcher.prepare(self._index_with, self._state.views())

    def build_index(self, *, show_progress: bool = True) -> SearchQuality:
        """Compact, and make the approximate index whatever the number of vectors; what it is worth."""
        with self._writing(), silenced(not show_progress):
            self.compact()
            self._searcher.prepare(self._index_with, self._state.views(), always=True)
            return self.search_quality()

    def search_quality(self) -> SearchQuality:
        """How a search finds neighbours, and, of an approximate one, the share of those that exact search finds.

        Measured on vectors of this store, each left out of its own neighbours; takes some exact searches.
        """
        self._require_open()
        views, searcher = self._seen
        return searcher.quality(views)

    def merge(self, other: Store) -> int:
        """Put all items of another store into this one; how many. See `circlet.vectors.merging`."""
        return merge(self, other)

    def export_parquet(self, path: str | Path) -> Path:
        """Write all items and vectors as a Parquet file; see `circlet.vectors.parquet`."""
        from circlet.vectors.parquet import write_parquet

        return write_parquet(self, Path(path))

    def import_parquet(self, path: str | Path) -> int:
        """Put all items of a Parquet file into this store; how many. See `circlet.vectors.parquet`."""
        from circlet.vectors.parquet import put_parquet

        return put_parquet(self, Path(path))

    def close(self) -> None:
        """Let go of the files and of the lock; closing again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                if self._journal:
                    self._journal.close()
                if self._held:
                    self._held.release()

    @contextmanager
    def _writing(self) -> Iterator[JournalWriter]:
        with self._lock:
            self._require_open()
            check_writable(self.location, self._journal is None)
            assert self._journal is not None
            yield self._journal

    def _require_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.location}: found this store closed{self._why}, expected it open")

    def _do(self, journal: JournalWriter, record: Record) -> None:
        """Have a record on the disk, and do what it says."""
        if record.num_bytes() > JOURNAL_BYTES or journal.end > MAX_BYTES - 2 * JOURNAL_BYTES:
            self._write_down(record)
            return
        journal.append(record)
        self._state.apply(record)
        self._seen = self._state.views(), self._searcher
        if journal.end > JOURNAL_BYTES:
            with suppress(OSError):  # the record is in the journal: a full disk is told of when that cannot grow
                self._write_down(None)

    def _write_down(self, record: Record | None, merged: int | None = None, advance: Advance = nothing) -> None:
        """Write the tail, what a record puts, and the last `merged` segments as one, with a new journal beside it."""
        written: list[Path] = []
        try:
            new = rewritten(self.folder, self._manifest, self._state, record, merged, advance, written)
            manifests.write_manifest(self.folder, new.manifest, self._meta)
            path = file_of(self.folder, "journal", new.manifest.journal)
            old, self._journal = self._journal, JournalWriter(path, EMPTY)
            self._manifest, self._state = new.manifest, new.state
            self._searcher = self._searcher.after(new.manifest, new.state.segments)
            self._seen = new.state.views(), self._searcher
        except BaseException:
            self._take_back(written)
            raise
        if old:
            old.close()
        remove_unused(self.folder, self._manifest)

    def _take_back(self, written: list[Path]) -> None:
        """Remove what a failed change has left; close, if the disk has another state, in which our journal is none."""
        try:
            on_disk = manifests.read_manifest(self.folder)[0]
        except (OSError, ValueError):
            on_disk = None  # nobody knows
        if on_disk != self._manifest:
            self._why = " since a change failed half-way (open it again)"
            self.close()
            return
        for path in written:
            with suppress(OSError):
                path.unlink()

    def _index_with(self, write: Callable[[Path], object]) -> None:
        """Have `write` make the file of the approximate index of the only segment, and name it in the manifest."""
        number, covers = self._manifest.next, self._state.segments[0].number
        path = file_of(self.folder, "approximate", number)
        new = replace(self._manifest, next=number + 1, approximate=number, covers=covers)
        try:
            write(path)
            manifests.write_manifest(self.folder, new, self._meta)
        except BaseException:
            self._take_back([path])
            raise
        self._manifest, self._searcher = new, self._searcher.after(new, self._state.segments)
        self._seen = self._state.views(), self._searcher
        remove_unused(self.folder, new)
