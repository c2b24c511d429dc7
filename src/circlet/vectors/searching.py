"""How a store is searched: exactly, or a large segment through its approximate index and the rest exactly.

The index is used only as far as was found to be enough: when it is made, it looks further and further until it finds
RECALL of the neighbours that exact search finds for some vectors of the store, and where that is never reached, search
stays exact.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from circlet.progress import progress
from circlet.terminal import say
from circlet.vectors import approximate as indexes
from circlet.vectors import exact as exactly
from circlet.vectors.approximate import Approximate, Setting, Tuned
from circlet.vectors.exact import Found, View
from circlet.vectors.manifest import Manifest, file_of
from circlet.vectors.protocol import Floats, Hits, Item
from circlet.vectors.segment import Segment, gathered
from circlet.vectors.tail import Ints
from circlet.vectors.texts import unpacked

RECALL = 0.99
APPROXIMATE_BYTES = 10**9
"""From this size on `compact` makes an index: exact search takes some 50 ms a query (benchmarks/results/search.md)."""
_KS = (10, 100)
_TRIALS = 200
_WIDER = (Setting(8, 100), Setting(16, 200), Setting(32, 400), Setting(64, 800), Setting(128, 1600), Setting(256, 3200),
          Setting(512, 6400))  # fmt: skip


class SearchQuality(NamedTuple):
    """How search finds neighbours, and what of them.

    method: "exact" or "approximate". vectors: in the store; covered: of them, in the approximate index. recall: share
    of the 10 nearest that a search finds, by `queries` vectors of the store, each left out of its own neighbours.
    time_ms: of one query; exact_time_ms: of one that looks at all vectors. reason: why it is exact, "" if it is not.
    """

    method: str
    vectors: int
    covered: int
    recall: float
    queries: int
    time_ms: float
    exact_time_ms: float
    reason: str

    @property
    def sentence(self) -> str:
        """What a person wants to know of it."""
        if self.method == "exact":
            return f"exact search of {self.vectors:,} vectors, {self.time_ms:.1f} ms a query ({self.reason})"
        return (f"approximate search of {self.vectors:,} vectors ({self.covered:,} by the index) finds "
                f"{self.recall:.1%} of the 10 nearest, {self.time_ms:.1f} ms a query "
                f"(exact: {self.exact_time_ms:.1f} ms); measured on {self.queries} of them")  # fmt: skip


class Searcher:
    """Searches a store in the state of a manifest; the index is read when it is first needed."""

    def __init__(self, folder: Path, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self._folder, self._number = folder, manifest.approximate
        self._segment = next((each for each in segments if each.number == manifest.covers), None)
        self._index: Approximate | None = None
        self._reason = "" if self._number is not None else "there is no approximate index"
        self._lock = threading.Lock()

    def after(self, manifest: Manifest, segments: Sequence[Segment]) -> Searcher:
        """The one for the next state of the store."""
        new = Searcher(self._folder, manifest, segments)
        if new._number == self._number and new._segment is self._segment:
            new._index, new._reason = self._index, self._reason
        return new

    def search(self, views: Sequence[View], queries: Floats, k: int, *, exact: bool = False) -> list[Found]:
        """The k nearest of each of (q, dim) queries."""
        index = None if exact or k > _KS[-1] else self._ready()
        setting = index.setting(k) if index else None
        covered = [number for number, view in enumerate(views) if view.source is self._segment]
        if index is None or setting is None or not covered:
            return exactly.nearest(views, queries, k)
        return self._approximately(index, setting, views, covered[0], queries, k)

    def prepare(
        self,
        index_with: Callable[[Callable[[Path], object]], None],
        views: Sequence[View],
        *,
        always: bool = False,
    ) -> None:
        """Make the index of a store that is one segment, if that is large (or `always`), and has none yet."""
        segment = views[0].source if views else None
        if self._number is not None or not isinstance(segment, Segment) or any(view.num_rows for view in views[1:]):
            return
        if len(segment) < indexes.LEAST_ROWS or (segment.vectors.nbytes < APPROXIMATE_BYTES and not always):
            return
        if not indexes.is_available():
            if always:
                indexes.build(segment, lambda count: None)  # raises
            say(f"{self._folder}: search stays exact, since faiss is not installed (pip install 'circlet[search]')")
            return
        with progress("index", indexes.steps(segment)) as shown:
            arrays = indexes.build(segment, shown.advance)
        tuned = self._tuned(Approximate(arrays, segment.vectors.shape[1], []), segment)
        if not tuned:
            say(f"{self._folder}: search stays exact, since its approximate index finds less than {RECALL:.0%}")
        index_with(lambda path: indexes.write(path, arrays, tuned, segment))

    def quality(self, views: Sequence[View]) -> SearchQuality:
        """Measure it on some of the vectors."""
        count = sum(view.num_alive for view in views)
        index = self._ready()
        places = _sampled(views, seed=1)
        if not len(places):
            return SearchQuality("exact", 0, 0, 1.0, 0, 0.0, 0.0, "there are no vectors")
        queries = _rows(views, places)
        exact_time_ms = median_time_ms(lambda query: self.search(views, query, 10, exact=True), queries)
        covered = sum(view.num_alive for view in views if view.source is self._segment)
        if index is None or not index.tuned or not covered:
            reason = self._reason or f"the approximate index finds less than {RECALL:.0%}"
            return SearchQuality("exact", count, 0, 1.0, len(places), exact_time_ms, exact_time_ms, reason)
        time_ms = median_time_ms(lambda query: self.search(views, query, 10), queries)
        found, expected = (self.search(views, queries, 11, exact=e) for e in (False, True))
        share = recall(found, expected, places, 10)
        return SearchQuality("approximate", count, covered, share, len(places), time_ms, exact_time_ms, "")

    def _ready(self) -> Approximate | None:
        """The index; None where there is none, or it cannot be used, of which somebody is told once."""
        with self._lock:
            if self._index is None and not self._reason:
                assert self._number is not None
                try:
                    if self._segment is None:
                        raise ValueError("its vectors are not there")
                    self._index = indexes.read(file_of(self._folder, "approximate", self._number), self._segment)
                except (OSError, ValueError, ImportError) as error:
                    self._reason = f"the approximate index cannot be used: {error}"
                    say(f"{self._folder}: search is exact, since {self._reason}")
            return self._index

    def _approximately(
        self, index: Approximate, setting: Setting, views: Sequence[View], covered: int, queries: Floats, k: int
    ) -> list[Found]:
        first = exactly.starts(views)
        rest = [number for number in range(len(views)) if number != covered]
        beside = exactly.nearest([views[number] for number in rest], queries, k)
        rest_first = exactly.starts([views[number] for number in rest])
        results = []
        for i, rows in enumerate(index.rows(queries, setting)):
            rows = rows[(rows >= 0) & ~np.isin(rows, views[covered].dead)]
            if len(rows) < min(k, views[covered].num_alive):  # many were removed
                results += exactly.nearest(views, queries[i : i + 1], k)
                continue
            owner = np.searchsorted(rest_first, beside[i].places, side="right") - 1
            others = beside[i].places - rest_first[owner] + first[np.array(rest, np.int64)[owner]]
            results.append(exactly.compared(views, queries[i], np.concatenate([rows + first[covered], others]), k))
        return results

    def _tuned(self, index: Approximate, segment: Segment) -> list[Tuned]:
        """For each number of neighbours the first setting that finds enough of them."""
        views = [View(segment, len(segment), np.empty(0, np.int64))]
        places = _sampled(views, seed=0)
        queries = _rows(views, places)
        tuned, settings = [], list(_WIDER)
        for k in _KS:
            if len(segment) < 5 * k:
                break
            expected = exactly.nearest(views, queries, k + 1)
            while settings:
                setting = Setting(min(settings[0].probes, index.num_lists), max(settings[0].candidates, 2 * k))
                share = recall(self._approximately(index, setting, views, 0, queries, k + 1), expected, places, k)
                if share >= RECALL:
                    tuned.append(Tuned(k, setting, round(share, 4)))
                    break
                settings.pop(0)
        return tuned


def hits(views: Sequence[View], found: Sequence[Found], k: int) -> Hits:
    """What was found, with its items."""
    first = exactly.starts(views)
    similarity = np.full((len(found), k), -np.inf, np.float32)
    items: list[list[Item]] = []
    for i, each in enumerate(found):
        similarity[i, : len(each.places)] = each.similarity
        owners = np.searchsorted(first, each.places, side="right") - 1
        places = zip(owners.tolist(), (each.places - first[owners]).tolist(), strict=True)
        items.append([unpacked(views[owner].source.text(row)) for owner, row in places])
    return Hits(similarity, items)


def recall(found: Sequence[Found], expected: Sequence[Found], own: Ints, k: int) -> float:
    """The share of the k nearest that was found, each query's own place left out; equally near ones are as good."""
    shares = []
    for each, right, place in zip(found, expected, own.tolist(), strict=True):
        least = right.similarity[right.places != place][:k]
        if len(least):
            shares.append((each.similarity[each.places != place][:k] >= least[-1]).sum() / len(least))
    return float(np.mean(shares)) if shares else 1.0


def _sampled(views: Sequence[View], seed: int) -> Ints:
    """Some places of rows that count, drawn."""
    first = exactly.starts(views)
    alive = np.concatenate(
        [
            np.delete(np.arange(view.num_rows), view.dead) + start
            for view, start in zip(views, first.tolist(), strict=False)
        ]
        or [np.empty(0, np.int64)]
    )
    return np.sort(np.random.default_rng(seed).choice(alive, min(_TRIALS, len(alive)), replace=False))


def _rows(views: Sequence[View], places: Ints) -> Floats:
    first = exactly.starts(views)
    owner = np.searchsorted(first, places, side="right") - 1
    sources = [view.source for view in views]
    return gathered(sources[0].vectors.shape[1], sources, owner, places - first[owner])


def median_time_ms(search: Callable[[Floats], object], queries: Floats) -> float:
    """Median time of one query, after one that reads what is not in memory yet."""
    search(queries[:1])
    times = []
    for i in range(min(len(queries), 7)):
        start = time.perf_counter()
        search(queries[i : i + 1])
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))
