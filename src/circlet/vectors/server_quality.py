"""What an approximate index of a database loses: measured on some of the stored vectors, against exact search."""

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from circlet.vectors.protocol import Floats, Hits
from circlet.vectors.searching import SearchQuality, median_time_ms

TRIALS = 200
"""Vectors that are searched for; a store gives those whose keys come first, and keys are as good as drawn."""
_K = 10


class _Searches(Protocol):
    def __len__(self) -> int: ...
    def search(self, queries: Floats, k: int, *, exact: bool = False) -> Hits: ...


def measured(store: _Searches, names: Sequence[str], rows: Floats, *, approximate: bool, why: str) -> SearchQuality:
    """How a store finds the neighbours of some of its vectors, each left out of its own.

    names, rows: (n,) and (n, dim). approximate: whether searches go through an index. why: they do not.
    """
    count = len(store)
    if not count or not len(names):
        return SearchQuality("exact", count, 0, 1.0, 0, 0.0, 0.0, "there are no vectors")
    time_ms = median_time_ms(lambda query: store.search(query, _K), rows)
    if not approximate:
        return SearchQuality("exact", count, 0, 1.0, len(names), time_ms, time_ms, why)
    start = time.perf_counter()
    expected = store.search(rows, _K + 1, exact=True)
    exact_time_ms = 1e3 * (time.perf_counter() - start) / len(rows)
    found = store.search(rows, _K + 1)
    shares = []
    for i, name in enumerate(names):
        best, least = (_others(hits, i, name) for hits in (found, expected))
        if len(least):
            shares.append((best >= least[-1] - 1e-6).sum() / len(least))
    recall = float(np.mean(shares)) if shares else 1.0
    return SearchQuality("approximate", count, count, recall, len(names), time_ms, exact_time_ms, "")


def _others(hits: Hits, row: int, name: str) -> Floats:
    """The similarities of the best _K hits of a query that are not itself."""
    here = hits.items[row]
    others: Floats = hits.similarity[row, : len(here)][[item.name != name for item in here]]
    return others[:_K]
