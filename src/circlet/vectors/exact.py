"""Exact neighbours of a few queries among rows in several places: what a search finds, whatever it was found by.

A first pass in float32 keeps some more than the k best (tiles of products, `best.Best`; a single query is one product
of matrix and vector). Those are then compared as float64 takes their products, rounded to float32 again, so that the
similarity of a pair does not depend on its place or on the other queries, and equal rows are equal: they come in order
of addition. Where the first pass cannot tell who is among the k best, all that could be are compared.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from circlet.vectors.best import Best
from circlet.vectors.protocol import Floats
from circlet.vectors.segment import Source
from circlet.vectors.tail import Ints

SPARE = 16  # kept beyond k by the first pass
ERROR = 1e-5  # more than float32 is wrong by, for the product of two unit rows
_TILE, _TILE_QUERIES = 1 << 21, 1 << 10  # similarities made at a time: they stay in a cache
_LEAST_ROWS, _MOST_ROWS = 1 << 11, 1 << 15
_MANY = 1 << 10  # neighbours that cost less to find one query after the other
_COMPARED_AT_ONCE = 1 << 13

Bools = npt.NDArray[np.bool_]


class View(NamedTuple):
    """The first `num_rows` of a source as somebody sees them; `dead` (m,), ascending, are those that do not count."""

    source: Source
    num_rows: int
    dead: Ints

    @property
    def num_alive(self) -> int:
        """Rows that count."""
        return self.num_rows - len(self.dead)


class Found(NamedTuple):
    """The neighbours of a query, best first: similarity (m,) float32, and (m,) places as `starts` counts them."""

    similarity: Floats
    places: Ints


def starts(views: Sequence[View]) -> Ints:
    """The place of the first row of each view, and one past the last of all."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum([view.num_rows for view in views], dtype=np.int64)])


def nearest(views: Sequence[View], queries: Floats, k: int) -> list[Found]:
    """The k nearest rows (fewer if there are fewer) of each of (q, dim) queries."""
    alive = sum(view.num_alive for view in views)
    if not alive:
        return [Found(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
    if len(queries) == 1 or k + SPARE > _MANY:
        return [_of_one(views, query, min(k, alive)) for query in queries]
    kept = candidates(views, queries, k)
    results = []
    for query, values, places in zip(queries, kept.values, kept.indices, strict=True):
        found = compared(views, query, places[places >= 0], min(k, alive))
        if len(found.places) and values[-1] >= found.similarity[-1] - ERROR:  # others may be as good
            found = _of_one(views, query, min(k, alive))
        results.append(found)
    return results


class Candidates(NamedTuple):
    """(q, k + SPARE) similarities by float32, best first, -inf where there are fewer, and places, -1 there."""

    values: Floats
    indices: Ints


def candidates(views: Sequence[View], queries: Floats, k: int) -> Candidates:
    """The first pass, for several queries."""
    first = starts(views)
    blocks = []
    for rows in torch.from_numpy(queries).split(_TILE_QUERIES):
        best = Best.empty(rows, k + SPARE)
        step = min(max(_TILE // len(rows) // _LEAST_ROWS * _LEAST_ROWS, _LEAST_ROWS), _MOST_ROWS)
        memory = rows.new_empty(len(rows) * min(step, max(view.num_rows for view in views)))  # used again for each tile
        for view, start in zip(views, first.tolist(), strict=False):
            for at in range(0, view.num_rows, step):
                stop = min(at + step, view.num_rows)
                view.source.check(slice(at, stop))
                tile = memory[: len(rows) * (stop - at)].view(len(rows), stop - at)
                torch.mm(rows, torch.from_numpy(view.source.vectors[at:stop]).T, out=tile)
                if len(dead := _between(view.dead, at, stop)):
                    tile[:, torch.from_numpy(dead - at)] = -torch.inf
                best.update(tile, start + at)
        blocks.append(best)
    values, indices = (torch.cat([getattr(b, name) for b in blocks]).numpy() for name in ("values", "indices"))
    indices[np.isneginf(values)] = -1
    return Candidates(values, indices)


def compared(views: Sequence[View], query: Floats, places: Ints, k: int) -> Found:
    """The k nearest among some rows; each is checked against its checksum."""
    first = starts(views)
    similarity = _similarity(views, first, query, places)
    if len(places) > k:  # only those that may be among them are looked at closely
        close = similarity >= np.partition(similarity, -k)[-k] - ERROR
        places = places[close]
    owner = np.searchsorted(first, places, side="right") - 1
    order: Ints = np.empty(len(places), np.int64)
    for i in np.unique(owner).tolist():
        wanted = owner == i
        order[wanted] = views[i].source.order[places[wanted] - first[i]]
    similarity = _similarity(views, first, query.astype(np.float64), places)
    ranking = np.lexsort((order, -similarity))[:k]
    return Found(similarity[ranking], places[ranking])


def _similarity(views: Sequence[View], first: Ints, query: npt.NDArray[Any], places: Ints) -> Floats:
    """Products of some rows with a query, in its precision, as float32; in float64 they depend on nothing else."""
    found: Floats = np.empty(len(places), np.float32)
    owner = np.searchsorted(first, places, side="right") - 1
    for i in np.unique(owner).tolist():
        wanted = np.flatnonzero(owner == i)
        source = views[i].source
        for part in np.split(wanted, range(_COMPARED_AT_ONCE, len(wanted), _COMPARED_AT_ONCE)):
            rows = places[part] - first[i]
            source.check(rows)
            vectors = source.vectors[rows]
            found[part] = vectors @ query if query.dtype == np.float32 else (vectors * query).sum(axis=1)
    return found


def _of_one(views: Sequence[View], query: Floats, k: int) -> Found:
    """The k nearest of one query: all similarities, and a closer look at those that may be among them."""
    told = torch.from_numpy(query)
    parts = []
    for view in views:
        view.source.check(slice(0, view.num_rows))
        similarity = torch.mv(torch.from_numpy(view.source.vectors[: view.num_rows]), told)
        similarity[torch.from_numpy(view.dead)] = -torch.inf
        parts.append(similarity)
    similarities = torch.cat(parts)
    least = similarities.topk(k).values[-1] - ERROR
    places = (similarities >= least).nonzero()[:, 0].numpy()
    return compared(views, query, places, k)


def _between(ascending: Ints, first: int, stop: int) -> Ints:
    low, high = np.searchsorted(ascending, (first, stop))
    return ascending[low:high]
