"""Exact nearest neighbours by inner product, in tiles: the one expensive step of retrieval metrics.

The similarities of n queries with m gallery items never exist all at once. They are made in square tiles, and each
query keeps its k best so far. Where the queries are the gallery, S = S^T: a tile serves its rows and, transposed, its
columns, which halves the multiplications.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from circlet.vectors.best import Best


def nearest(queries: Tensor, gallery: Tensor | None, k: int, *, block_size: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, indices): the k gallery items of highest inner product for each query of `rows`, best first.

    >>> points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    >>> [(rows, indices.tolist()) for rows, indices in nearest(points, None, 1, block_size=8)]
    [(slice(0, 3, None), [[2], [2], [0]])]

    Equal similarities rank by gallery index. `gallery=None`: every query against all the others, itself left out by
    index. Needs finite values and 1 <= k <= candidates. Extra memory: a few tiles of block_size^2 similarities, and
    what is kept, 12 k bytes for each query (float32).

    queries: (n, dim), any float dtype; products are taken in it.
    gallery: (m, dim) or None.
    k: neighbours to find.
    block_size: queries, and gallery items, in a tile.

    Gives iterator over blocks of queries; indices are (rows, k) int64.
    """
    if in_tiles(k, block_size):
        return _nearest_by_tiles(queries, gallery, k, block_size)
    return _nearest_by_sorting(queries, gallery, k, block_size)


def in_tiles(k: int, block_size: int) -> bool:
    """Whether k are so few that keeping them costs less than sorting whole rows."""
    return k <= block_size // 8


def row_blocks(num_queries: int, num_gallery: int, block_size: int) -> Iterator[slice]:
    """Blocks of queries whose whole rows of similarities are about as large as a tile."""
    return blocks_of(num_queries, max(1, block_size * block_size // num_gallery))


def products(rows: Tensor, items: Tensor, *, block_size: int) -> Tensor:
    """Similarities (rows, items), multiplied in blocks of items, as it is where each of several ranks has some."""
    similarities = rows.new_empty(len(rows), len(items))
    for columns in blocks_of(len(items), block_size):
        torch.mm(rows, items[columns].T, out=similarities[:, columns])
    return similarities


def similarity_rows(queries: Tensor, gallery: Tensor | None, chosen: slice | Tensor, *, block_size: int) -> Tensor:
    """Whole rows of similarities for the chosen queries, self at -inf if `gallery` is None."""
    similarities = products(queries[chosen], queries if gallery is None else gallery, block_size=block_size)
    if gallery is not None:
        return similarities
    own = torch.arange(len(queries), device=queries.device)[chosen]
    return similarities.scatter_(1, own[:, None], -torch.inf)


def _nearest_by_sorting(
    queries: Tensor, gallery: Tensor | None, k: int, block_size: int
) -> Iterator[tuple[slice, Tensor]]:
    num_gallery = len(queries) if gallery is None else len(gallery)
    for rows in row_blocks(len(queries), num_gallery, block_size):
        similarities = similarity_rows(queries, gallery, rows, block_size=block_size)
        yield rows, similarities.sort(dim=1, descending=True, stable=True).indices[:, :k]


def _nearest_by_tiles(
    queries: Tensor, gallery: Tensor | None, k: int, block_size: int
) -> Iterator[tuple[slice, Tensor]]:
    return ((rows, best.indices) for rows, best in best_by_tiles(queries, gallery, k, block_size))


def best_by_tiles(queries: Tensor, gallery: Tensor | None, k: int, block_size: int) -> Iterator[tuple[slice, Best]]:
    """As `nearest`, in tiles whatever k, and with the similarities."""
    num_items = len(queries) if gallery is None else len(gallery)
    best: dict[int, Best] = {}
    for rows, columns, tile in similarity_tiles(queries, gallery, block_size):
        if gallery is None and rows == columns:
            tile.fill_diagonal_(-torch.inf)
        best.setdefault(rows.start, Best.empty(tile, k)).update(tile, columns.start)
        if columns.stop == num_items:
            yield rows, best.pop(rows.start)


def similarity_tiles(queries: Tensor, gallery: Tensor | None, block_size: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, columns, tile): all similarities once, a block of queries seeing the gallery in ascending order.

    `gallery=None`: queries against themselves, each product serving two tiles. A tile lives until the next one.
    """
    items = queries if gallery is None else gallery
    columns = list(blocks_of(len(items), block_size))
    memory = items.new_empty(block_size * min(block_size, len(items)))  # one tile, used again and again
    for i, rows in enumerate(blocks_of(len(queries), block_size)):
        # Without a gallery, the tiles before the diagonal came transposed, earlier.
        for j in range(i if gallery is None else 0, len(columns)):
            shape = rows.stop - rows.start, columns[j].stop - columns[j].start
            tile = torch.mm(queries[rows], items[columns[j]].T, out=memory[: shape[0] * shape[1]].view(shape))
            yield rows, columns[j], tile
            if gallery is None and j > i:
                yield columns[j], rows, tile.T


def blocks_of(num_items: int, block_size: int) -> Iterator[slice]:
    """Slices of `block_size` items, the last one perhaps of fewer."""
    for start in range(0, num_items, block_size):
        yield slice(start, min(start + block_size, num_items))
