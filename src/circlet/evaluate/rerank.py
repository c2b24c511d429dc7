"""k-reciprocal re-ranking: distances that know who is among whose neighbours.

Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, as in the
authors' Python code. Of the square matrix of distances between all images only the k1 nearest of each are kept, and of
the square matrix of encodings only the entries that are not zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.evaluate.checks import checked_embeddings, unit_pair
from circlet.evaluate.neighbours import row_blocks, similarity_tiles
from circlet.vectors.best import Best

__all__ = ["rerank"]


@torch.no_grad()
def rerank(
    query: Tensor,
    gallery: Tensor,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    block_size: int = 2048,
) -> Tensor:
    r"""k-reciprocal distances between queries and gallery, for `reid_from_distances`.

    >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3], [0.0, 1.0], [0.1, 0.9], [0.4, 0.9]])
    >>> rerank(points[:1], points[1:], k1=2, k2=1).mul(100).round().tolist()
    [[1.0, 6.0, 100.0, 97.0, 88.0]]

    With N(i, k) the k + 1 nearest of i among queries and gallery together (i itself the first), and d the squared
    Euclidean distance of unit rows, divided by the largest one of row i:

        R(i, k) = {g in N(i, k) : i in N(g, k)}                                                  (Eq. 2-3)
        R*(i)   = R(i, k1) joined by each R(g, k1/2), g in R(i, k1), of which more than 2/3 lie
                  in R(i, k1)                                                                    (Eq. 4)
        V(i, g) = exp(-d(i, g)) for g in R*(i), else 0, scaled to sum 1; then                    (Eq. 7)
                  the mean of the V of the k2 first of N(i)                                      (Eq. 11)
        J(i, g) = 1 - sum_c min(V(i, c), V(g, c)) / sum_c max(V(i, c), V(g, c))                  (Eq. 10)
        result  = (1 - lambda_) J(i, g) + lambda_ d(i, g)                                        (Eq. 12)

    query: (n, dim), any float dtype and device; normalised inside, products in float32 (float64 for float64).
    gallery: (m, dim), on the same device.
    k1: neighbours that must be mutual, less than n + m; k1/2 is rounded half to even.
    k2: rows in the mean of encodings, itself included; 1: no mean.
    lambda_: weight of the original distance, from 0 to 1.
    block_size: products are made block_size^2 at a time; decides memory and speed, not the result.

    Gives (n, m) float32, in [0, 1].

    Raises ValueError: a wrong shape, dtype or device, an embedding that is not finite, k1, k2 or lambda_ out of range.

    Differs from the paper, as its code does: d is Euclidean, squared, and divided by its maximum; V sums to 1.

    Equal distances rank by index (queries first), behind the image itself.

    Extra memory: the result, and about 2 KB for each image with the default k1 and k2 (encodings and their index).
    """
    checked_embeddings("query", query)
    checked_embeddings("gallery", gallery)
    queries, items = unit_pair("query", query, "gallery", gallery)
    num_images = len(queries) + len(items)
    for name, value, largest in (("k1", k1, num_images - 1), ("k2", k2, num_images)):
        if not 1 <= value <= largest:
            raise ValueError(f"{name}: found {value}, expected 1 to {largest} for {num_images} images")
    if not 0 <= lambda_ <= 1:
        raise ValueError(f"lambda_: found {lambda_}, expected 0 to 1")
    if block_size < 1:
        raise ValueError(f"block_size: found {block_size}, expected at least 1")
    images = torch.cat([queries, items])
    with torch.autocast(images.device.type, enabled=False):
        neighbours, largest_distance = _neighbours(images, max(k1, k2 - 1), block_size)
        encodings = _encodings(images, neighbours[:, : k1 + 1], largest_distance, block_size)
        if k2 > 1:
            encodings = _mean_of_rows(encodings, neighbours[:, :k2])
        result = _shared(encodings, len(queries), num_images, block_size)
        for rows in row_blocks(len(queries), len(items), block_size):
            jaccard = (1 - result[rows] / (2 - result[rows])).clamp_(min=0)  # the rows of V sum to 1, but for rounding
            distances = _squared_distance(queries[rows] @ items.T).float() / largest_distance[rows, None]
            result[rows] = jaccard * (1 - lambda_) + distances * lambda_
    return result


class _Encodings(NamedTuple):
    """The entries of V that are not zero, row by row, columns ascending."""

    row: Tensor
    column: Tensor
    value: Tensor


def _squared_distance(similarity: Tensor) -> Tensor:
    return (2 - 2 * similarity).clamp(min=0)


def _neighbours(images: Tensor, k: int, block_size: int) -> tuple[Tensor, Tensor]:
    """The k + 1 nearest of each image (itself first), and the largest squared distance from each (float32)."""
    neighbours = torch.empty(len(images), k + 1, dtype=torch.int64, device=images.device)
    neighbours[:, 0] = torch.arange(len(images), device=images.device)
    least = images.new_full((len(images),), torch.inf)
    best: dict[int, Best] = {}
    for rows, columns, tile in similarity_tiles(images, None, block_size):
        least[rows] = torch.minimum(least[rows], tile.amin(dim=1))
        if rows == columns:
            tile.fill_diagonal_(-torch.inf)
        if k:
            best.setdefault(rows.start, Best.empty(tile, k)).update(tile, columns.start)
        if k and columns.stop == len(images):
            neighbours[rows, 1:] = best.pop(rows.start).indices
    return neighbours, _squared_distance(least).float().clamp(min=torch.finfo(torch.float32).tiny)


def _is_mutual(neighbours: Tensor, rows: slice) -> Tensor:
    """(rows, k + 1): whether the image is among the neighbours of its neighbour."""
    own = neighbours[rows, :1]
    return (neighbours[neighbours[rows]] == own[:, :, None]).any(dim=2)


def _encodings(images: Tensor, neighbours: Tensor, largest_distance: Tensor, block_size: int) -> _Encodings:
    """V of Eq. 7 over the sets R* of Eq. 4."""
    num_images, width = neighbours.shape
    half = neighbours[:, : round((width - 1) / 2) + 1]
    blocks = list(row_blocks(num_images, width**3, block_size))
    half_mutual = torch.cat([_is_mutual(half, rows) for rows in blocks])
    parts = []
    for rows in blocks:
        mutual = _is_mutual(neighbours, rows)
        core = torch.where(mutual, neighbours[rows], -1)  # R(i, k1)
        candidates, of_candidate = (
            half[neighbours[rows]],
            half_mutual[neighbours[rows]],
        )  # R(g, k1/2) for each neighbour
        shared = (candidates[..., None] == core[:, None, None, :]).any(dim=3) & of_candidate
        joins = mutual & (3 * shared.sum(dim=2) > 2 * of_candidate.sum(dim=2))
        joined = torch.where(of_candidate & joins[..., None], candidates, -1)
        members = torch.cat([core, joined.flatten(1)], dim=1).sort(dim=1).values
        members[:, 1:].masked_fill_(members[:, 1:] == members[:, :-1], -1)  # each once
        row, place = (members >= 0).nonzero(as_tuple=True)
        column = members[row, place]
        row += rows.start
        parts.append(_Encodings(row, column, _weights(images, row, column, largest_distance)))
    row, column, weight = (torch.cat(part) for part in zip(*parts, strict=True))
    total = weight.new_zeros(num_images).index_add_(0, row, weight)
    return _Encodings(row, column, weight / total[row])


def _weights(images: Tensor, row: Tensor, column: Tensor, largest_distance: Tensor) -> Tensor:
    chunk = max(1, 2**18 // images.shape[1])  # stays in the cache
    chunks = zip(row.split(chunk), column.split(chunk), strict=True)
    similarity = torch.cat([(images[i] * images[j]).sum(dim=1) for i, j in chunks])
    distance = _squared_distance(similarity).float() / largest_distance[row]
    return torch.where(row == column, 1.0, distance.neg().exp())


def _mean_of_rows(encodings: _Encodings, neighbours: Tensor) -> _Encodings:
    """For each image the mean of the encodings of its `neighbours` (num_images, k2)."""
    row, column, value = encodings
    num_images, k2 = neighbours.shape
    count = row.bincount(minlength=num_images)
    start = count.cumsum(0) - count
    sources = neighbours.reshape(-1)
    entry = _ranges(start[sources], count[sources])
    target = torch.arange(num_images, device=row.device).repeat_interleave(k2).repeat_interleave(count[sources])
    key, place = (target * num_images + column[entry]).unique(return_inverse=True)
    mean = value.new_zeros(len(key)).index_add_(0, place, value[entry]) / k2
    return _Encodings(key // num_images, key % num_images, mean)


def _shared(encodings: _Encodings, num_queries: int, num_images: int, block_size: int) -> Tensor:
    """(num_queries, num_gallery) sums of min(V(i, c), V(g, c)), over the columns c that both have."""
    in_gallery = encodings.row >= num_queries
    item, item_column, item_value = (part[in_gallery] for part in encodings)
    item_column, order = item_column.sort(stable=True)  # the inverted index: for each column, who has it
    item, item_value = item[order] - num_queries, item_value[order]
    count = item_column.bincount(minlength=num_images)
    start = count.cumsum(0) - count
    num_items = num_images - num_queries

    shared = item_value.new_zeros(num_queries, num_items)
    own = (encodings.row < num_queries).nonzero().squeeze(1)
    # Parts by how many gallery items they meet: in a collapsed embedding a column may have them all.
    met = count[encodings.column[own]].cumsum(0)
    blocks = met.div_(max(1, block_size * block_size // 16), rounding_mode="floor")
    for part in own.split(blocks.unique_consecutive(return_counts=True)[1].tolist()):
        row, column, value = (x[part] for x in encodings)
        entry = _ranges(start[column], count[column])
        least = torch.minimum(value.repeat_interleave(count[column]), item_value[entry])
        target = (row * num_items).repeat_interleave(count[column]) + item[entry]
        shared.view(-1).index_add_(0, target, least)
    return shared


def _ranges(starts: Tensor, counts: Tensor) -> Tensor:
    """The integers start, ..., start + count - 1 of each, one after the other."""
    shift = (starts - (counts.cumsum(0) - counts)).repeat_interleave(counts)
    return torch.arange(len(shift), device=shift.device) + shift
