"""One pass over the pairs of a test set: how similar they are, within and between classes, and who is nearest.

Similarities are cosines, made in tiles. All pairs are looked at up to MAX_PAIRS; beyond, those of a random sample of
the queries with everything that they search.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.evaluate.checks import unit_rows
from circlet.evaluate.neighbours import similarity_tiles
from circlet.evaluate.retrieval import count_of
from circlet.vectors.best import Best

MAX_PAIRS = 2**28
BINS = 20_000  # of [-1, 1], each 0.0001 wide
MAX_NEIGHBOURS = 100
_ROWS = 64  # of a tile, counted at a time: they fit into the cache


class Survey(NamedTuple):
    """What was found.

    queries: (q,) indices of the queries looked at: all of them, or a sample in ascending order.
    within, between: (BINS,) how many pairs of one class and of two have a similarity in each bin of [-1, 1]; a pair of
        two queries that search each other is counted once if all are looked at.
    values, indices: (q, k) similarity and index of the nearest of each, best first, k at most MAX_NEIGHBOURS.
    hits: (q, k) whether they are of the query's class. matched: (q,) whether there is any of its class to find.
    """

    queries: Tensor
    within: Tensor
    between: Tensor
    values: Tensor
    indices: Tensor
    hits: Tensor
    matched: Tensor


@torch.no_grad()
def survey(
    query: Tensor,
    gallery: Tensor | None,
    query_labels: Tensor,
    gallery_labels: Tensor,
    *,
    max_pairs: int = MAX_PAIRS,
    block_size: int = 2048,
    seed: int = 0,
) -> Survey:
    """Look at the pairs of (Q, dim) queries with a (G, dim) gallery, or with each other (`gallery` None).

    >>> points = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> found = survey(points, None, torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]))
    >>> found.indices.tolist(), found.within.sum().item(), found.between.sum().item()
    ([[1, 2], [0, 2], [1, 0]], 1, 2)

    Labels are (Q,) and (G,) integers, those of the gallery the queries' own where it is None. Equal similarities rank
    by index, as in circlet.evaluate.retrieval.
    """
    rows = unit_rows(query)
    items = rows if gallery is None else unit_rows(gallery).to(rows.dtype)
    num_pairs = len(rows) * len(items) // (2 if gallery is None else 1)
    chosen = torch.arange(len(rows))
    if num_pairs > max_pairs:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(rows), generator=generator)[: max(1, max_pairs // len(items))].sort().values
    own = chosen if gallery is None else None
    mutual = gallery is None and len(chosen) == len(rows)  # a tile serves its rows and, transposed, its columns
    k = min(MAX_NEIGHBOURS, len(items) - (gallery is None))
    labels = query_labels[chosen].int()
    item_labels = gallery_labels.int()
    everything, within = torch.zeros(BINS, dtype=torch.int64), torch.zeros(BINS, dtype=torch.int64)
    best: dict[int, Best] = {}
    for part, columns, tile in similarity_tiles(rows[chosen], None if mutual else items, block_size):
        if own is not None:
            _leave_out(tile, own[part], columns)
        best.setdefault(part.start, Best.empty(tile, k)).update(tile, columns.start)
        if mutual and columns.start < part.start:
            continue
        if mutual and columns == part:
            tile = tile.masked_fill(torch.ones_like(tile, dtype=torch.bool).tril_(), -torch.inf)
        for block, block_labels in zip(tile.split(_ROWS), labels[part].split(_ROWS), strict=True):
            everything += _counts(block)
            within += _counts(block[block_labels[:, None] == item_labels[columns]])
    found = [best[start] for start in sorted(best)]
    indices = torch.cat([part.indices for part in found])
    to_find = count_of(query_labels[chosen], gallery_labels) - int(gallery is None)
    return Survey(
        queries=chosen,
        within=within,
        between=everything - within,
        values=torch.cat([part.values for part in found]),
        indices=indices,
        hits=gallery_labels[indices] == query_labels[chosen, None],
        matched=to_find > 0,
    )


def _leave_out(tile: Tensor, own: Tensor, columns: slice) -> None:
    """Put -inf where a query meets itself."""
    at = ((own >= columns.start) & (own < columns.stop)).nonzero().squeeze(1)
    tile[at, own[at] - columns.start] = -torch.inf


def _counts(similarities: Tensor) -> Tensor:
    """(BINS,) how many fall into each bin; -inf into none."""
    place = similarities.mul(BINS / 2).add_(BINS / 2).clamp_(-1, BINS - 1).to(torch.int64)  # towards 0
    return torch.bincount(place.flatten().add_(1), minlength=BINS + 1)[1:]
