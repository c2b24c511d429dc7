"""Exact nearest neighbours where the rows that are searched are spread over ranks: those of one process, on all ranks.

Each rank finds the best of its own rows for a block of queries, and the best of these are the best of all.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from circlet.evaluate.neighbours import blocks_of, in_tiles, nearest, row_blocks
from circlet.evaluate.spread import Spread
from circlet.vectors.best import Best


def spread_nearest(
    queries: Spread, gallery: Spread | None, k: int, *, block_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """As `circlet.evaluate.neighbours.nearest`, on every rank; gallery None: the queries search each other."""
    items = queries if gallery is None else gallery
    if len(items.place.bounds) == 1:
        yield from nearest(queries.own, None if gallery is None else gallery.own, k, block_size=block_size)
        return
    if in_tiles(k, block_size):
        for rows in blocks_of(queries.place.total, block_size):
            yield rows, _merged(_best_of_tiles(queries, items, rows, k, block_size, own=gallery is None), items, k)
    else:
        for rows in row_blocks(queries.place.total, items.place.total, block_size):
            similarities = without_itself(items.products(queries.rows(rows), block_size), rows, items, gallery is None)
            values, indices = similarities.sort(dim=1, descending=True, stable=True)
            best = Best(values[:, :k], indices[:, :k] + items.place.here.start)
            yield rows, _merged(best, items, k)


def without_itself(similarities: Tensor, chosen: slice | Tensor, items: Spread, own: bool) -> Tensor:
    """Similarities of the chosen queries with the rows that are here, with `own` -inf for a query's with itself."""
    if own:
        here = items.place.here
        numbers = torch.arange(items.place.total, device=similarities.device)[chosen]
        inside = ((numbers >= here.start) & (numbers < here.stop)).nonzero().squeeze(1)
        similarities[inside, numbers[inside] - here.start] = -torch.inf
    return similarities


def _best_of_tiles(queries: Spread, items: Spread, rows: slice, k: int, block_size: int, *, own: bool) -> Best:
    block = queries.rows(rows)
    best = Best.empty(block, k)
    for columns, part in items.blocks(block_size):
        # One process multiplies two blocks of its own once, and has the other way round transposed.
        tile = (part @ block.T).T if own and columns.start < rows.start else block @ part.T
        if own and rows == columns:
            tile.fill_diagonal_(-torch.inf)
        best.update(tile, columns.start)
    return best


def _merged(best: Best, items: Spread, k: int) -> Tensor:
    """The indices of the best of all ranks, equal ones by index, which is by rank too."""
    missing = k - best.values.shape[1]  # of a rank that has fewer rows
    values = torch.nn.functional.pad(best.values, (0, missing), value=-torch.inf)
    indices = torch.nn.functional.pad(best.indices, (0, missing), value=-1)
    values, indices = (items.place.stacked(each).transpose(0, 1).flatten(1) for each in (values, indices))
    order = values.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return indices.gather(1, order)
