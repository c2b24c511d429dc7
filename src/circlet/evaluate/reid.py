"""Person re-identification: CMC, mAP and mINP across cameras, as on Market-1501 and its successors.

Two conventions of average precision are in use, and both are here. Nothing is sorted but the positives: their places
in the ranking are counted, block of queries by block. Splits and file formats are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from circlet.data.images import JUNK
from circlet.distributed import all_call, helpers, shares
from circlet.evaluate.checks import checked_embeddings, checked_labels, unit_pair
from circlet.evaluate.neighbours import row_blocks
from circlet.evaluate.ranks import ranks_of_positives
from circlet.evaluate.spread import Place, only, sent, spread, worth_sharing

__all__ = ["ReidMetrics", "reid", "reid_from_distances"]

AveragePrecision = Literal["step", "trapezoid"]


@dataclass(frozen=True, eq=False)
class ReidMetrics:
    """What `reid` found, as fractions in [0, 1].

    cmc: (max_rank,) float64, fraction of the queries with a hit among the 1, 2, ... nearest.
    map: mean average precision, in the convention of `average_precision`.
    minp: mean over queries of (number of positives / rank of the last positive).
    average_precisions: (num_queries,) float64, that of each query; nan without a positive. inps: likewise, INP.
    first_ranks: (num_queries,) int64, rank of the first positive, from 1; 0 without any.
    num_queries: all queries.
    num_valid_queries: those with a positive: the same id under another camera.
    average_precision: "step" or "trapezoid": the convention of `map`, and which queries the means are over.
    """

    cmc: Tensor
    map: float
    minp: float
    average_precisions: Tensor
    inps: Tensor
    first_ranks: Tensor
    num_queries: int
    num_valid_queries: int
    average_precision: AveragePrecision


@torch.no_grad()
def reid(
    query: Tensor,
    query_ids: Tensor | Sequence[int],
    query_cams: Tensor | Sequence[int],
    gallery: Tensor,
    gallery_ids: Tensor | Sequence[int],
    gallery_cams: Tensor | Sequence[int],
    *,
    average_precision: AveragePrecision = "step",
    max_rank: int = 50,
    block_size: int = 1024,
    over_ranks: bool = False,
) -> ReidMetrics:
    r"""CMC, mAP and mINP by cosine similarity (of unit rows, Euclidean distance gives the same ranking).

    >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [0.0, 1.0]])
    >>> metrics = reid(query, [7], [1], gallery, [7, 3, 7, 7], [1, 1, 2, 3])
    >>> metrics.cmc.tolist(), round(metrics.map, 4), round(metrics.minp, 4)
    ([0.0, 1.0, 1.0, 1.0], 0.5833, 0.6667)

    Gallery entries of id -1 (junk) are dropped. For each query, so are the entries of the same id under the same
    camera; those of the same id under another camera are its n positives, all others negatives (on Market-1501 also
    the distractors, id 0). Equal distances rank by gallery index. With r_i the place of the i-th positive, from 1:

        CMC(k) = 1 if r_1 <= k
        AP     = (1/n) sum_i i / r_i                                  "step": torchreid, fast-reid
        AP     = (1/n) sum_i (i / r_i + (i-1) / (r_i - 1)) / 2        "trapezoid": the official Matlab evaluation
        INP    = n / r_n                                              (Ye et al., "Deep Learning for Person ReID", 2021)

    where 0/0 = 1, and their means over queries. "step" leaves out queries without a positive; "trapezoid" counts them
    as 0. On Market-1501 the second is lower by half a point to one: say which one you report.

    query: (n, dim), any float dtype and device; normalised inside, in float32 (float64 for float64).
    query_ids: (n,) integers.
    query_cams: (n,) integers.
    gallery: (m, dim), on the same device.
    gallery_ids: (m,) integers, -1 for junk.
    gallery_cams: (m,) integers.
    average_precision: "step" or "trapezoid".
    max_rank: length of the CMC, cut to the number of gallery entries that are not junk.
    block_size: distances are made block_size^2 at a time; decides memory and speed, not the result.
    over_ranks: the query and gallery entries are this rank's own; see `retrieval`.

    Raises ValueError: a wrong shape, dtype or device, an embedding that is not finite, a gallery of junk only, an
        unknown average_precision, max_rank or block_size below 1; and where no query has a positive, as with a single
        camera, since there is nothing to measure.

    Precision: distances closer than a rounding error may swap, see `retrieval`.

    Extra memory: a unit copy of query and gallery and about 40 bytes x block_size^2 (40 MB).
    """
    _check(average_precision, max_rank, block_size)
    asked = _Asked(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams)
    try:
        queries, items, given = _checked(asked, may_be_empty=over_ranks)
    except ValueError as error:
        spread(query, block_size, over_ranks=over_ranks, error=error)
        raise
    settings = average_precision, max_rank, block_size
    if not over_ranks and worth_sharing(len(queries) * len(items)):
        return all_call(_reid_of_part, settings, _parts(asked, block_size))
    wanted = spread(queries, block_size, over_ranks=over_ranks)
    searched = spread(items, block_size, over_ranks=over_ranks)
    if not searched.place.total:
        raise ValueError(f"gallery_ids: found {len(gallery)} times -1 (junk), expected other ids too")

    def distances(rows: slice) -> Tensor:
        return searched.products(wanted.rows(rows).neg(), block_size)

    of_query, of_item = wanted.place.joined(*given[:2]), searched.place.joined(*given[2:])
    with torch.autocast(queries.device.type, enabled=False):
        return _evaluate(distances, _Labels(*of_query, *of_item), *settings, searched.place)


@torch.no_grad()
def reid_from_distances(
    distances: Tensor,
    query_ids: Tensor | Sequence[int],
    query_cams: Tensor | Sequence[int],
    gallery_ids: Tensor | Sequence[int],
    gallery_cams: Tensor | Sequence[int],
    *,
    average_precision: AveragePrecision = "step",
    max_rank: int = 50,
    block_size: int = 1024,
) -> ReidMetrics:
    """`reid` for distances that are already there, such as those of `rerank`.

    >>> distances = torch.tensor([[0.1, 0.2, 0.3, 0.9]])
    >>> reid_from_distances(distances, [7], [1], [7, 3, 7, 7], [1, 1, 2, 3]).map
    0.58333...

    distances: (n, m), floats, less is nearer.
    query_ids: (n,) integers; this and the rest as in `reid`.
    query_cams: (n,) integers.
    gallery_ids: (m,) integers, -1 for junk.
    gallery_cams: (m,) integers.
    average_precision: "step" or "trapezoid".
    max_rank: length of the CMC.
    block_size: decides memory and speed.
    """
    checked_embeddings("distances", distances)
    _check(average_precision, max_rank, block_size)
    labels = _labels(distances, query_ids, query_cams, distances.T, gallery_ids, gallery_cams)
    kept = checked_labels("gallery_ids", gallery_ids, distances.T) != JUNK
    if not kept.any():
        raise ValueError(f"gallery_ids: found {len(kept)} times -1 (junk), expected other ids too")

    def rows_of(rows: slice) -> Tensor:
        return distances[rows][:, kept]

    return _evaluate(rows_of, labels, average_precision, max_rank, block_size, only(len(labels.gallery_ids)))


class _Asked(NamedTuple):
    """The arguments of `reid`."""

    query: Tensor
    query_ids: Tensor | Sequence[int]
    query_cams: Tensor | Sequence[int]
    gallery: Tensor
    gallery_ids: Tensor | Sequence[int]
    gallery_cams: Tensor | Sequence[int]


def _parts(asked: _Asked, block_size: int) -> list[_Asked]:
    """What each of the ranks that help is given."""
    bounds = (shares(len(rows), block_size, helpers()) for rows in (asked.query, asked.gallery))
    return [
        _Asked(*(sent(x, own) for x in asked[:3]), *(sent(x, theirs) for x in asked[3:]))  # type: ignore[arg-type]
        for own, theirs in zip(*bounds, strict=True)
    ]


def _reid_of_part(convention: AveragePrecision, max_rank: int, block_size: int, part: _Asked) -> ReidMetrics:
    return reid(*part, average_precision=convention, max_rank=max_rank, block_size=block_size, over_ranks=True)


def _checked(asked: _Asked, *, may_be_empty: bool) -> tuple[Tensor, Tensor, _Labels]:
    """Unit rows of the query and, without junk, of the gallery, with what is known of them."""
    checked_embeddings("query", asked.query, may_be_empty=may_be_empty)
    checked_embeddings("gallery", asked.gallery, may_be_empty=may_be_empty)
    labels = _labels(asked.query, asked.query_ids, asked.query_cams, *asked[3:])
    kept = checked_labels("gallery_ids", asked.gallery_ids, asked.gallery) != JUNK
    gallery = asked.gallery if kept.all() else asked.gallery[kept]
    return *unit_pair("query", asked.query, "gallery", gallery), labels


class _Labels(NamedTuple):
    """Ids and cameras, the gallery's without junk."""

    query_ids: Tensor
    query_cams: Tensor
    gallery_ids: Tensor
    gallery_cams: Tensor


def _labels(
    query: Tensor,
    query_ids: Tensor | Sequence[int],
    query_cams: Tensor | Sequence[int],
    gallery: Tensor,
    gallery_ids: Tensor | Sequence[int],
    gallery_cams: Tensor | Sequence[int],
) -> _Labels:
    ids = checked_labels("gallery_ids", gallery_ids, gallery)
    cams = checked_labels("gallery_cams", gallery_cams, gallery)
    return _Labels(
        checked_labels("query_ids", query_ids, query),
        checked_labels("query_cams", query_cams, query),
        ids[ids != JUNK],
        cams[ids != JUNK],
    )


def _evaluate(
    distances: Callable[[slice], Tensor],
    labels: _Labels,
    convention: AveragePrecision,
    max_rank: int,
    block_size: int,
    place: Place,
) -> ReidMetrics:
    """place: which columns of the distances are here."""
    num_queries, num_items = len(labels.query_ids), len(labels.gallery_ids)
    max_rank = min(max_rank, num_items)
    ap = torch.empty(num_queries, dtype=torch.float64)
    inp = torch.empty(num_queries, dtype=torch.float64)
    first_rank = torch.empty(num_queries, dtype=torch.int64)
    for rows in row_blocks(num_queries, num_items, block_size):
        same_id = labels.query_ids[rows, None] == labels.gallery_ids[place.here]
        same_camera = labels.query_cams[rows, None] == labels.gallery_cams[place.here]
        left = distances(rows).masked_fill_(same_id & same_camera, torch.inf)
        row, rank = (x.cpu() for x in ranks_of_positives(left, same_id & ~same_camera, place))
        ap[rows], inp[rows], first_rank[rows] = _per_query(row, rank, len(left), convention)

    valid = ~ap.isnan()
    if not valid.any():
        num_cameras = len(torch.cat([labels.query_cams, labels.gallery_cams]).unique())
        raise ValueError(f"query_ids, query_cams: found {num_queries} queries ({num_cameras} cameras in all) without a "
                         "gallery entry of the same id under another camera, expected at least one that has such "
                         "an entry")  # fmt: skip
    denominator = int(valid.sum()) if convention == "step" else num_queries
    places = first_rank[valid].clamp(max=max_rank + 1)
    return ReidMetrics(
        cmc=places.bincount(minlength=max_rank + 1)[1 : max_rank + 1].cumsum(0).double() / denominator,
        map=(ap[valid].sum() / denominator).item(),
        minp=(inp[valid].sum() / denominator).item(),
        average_precisions=ap,
        inps=inp,
        first_ranks=first_rank,
        num_queries=num_queries,
        num_valid_queries=int(valid.sum()),
        average_precision=convention,
    )


def _check(convention: str, max_rank: int, block_size: int) -> None:
    if convention not in ("step", "trapezoid"):
        raise ValueError(f'average_precision: found {convention!r}, expected "step" or "trapezoid"')
    for name, value in (("max_rank", max_rank), ("block_size", block_size)):
        if value < 1:
            raise ValueError(f"{name}: found {value}, expected at least 1")


def _per_query(row: Tensor, rank: Tensor, num_rows: int, convention: AveragePrecision) -> tuple[Tensor, Tensor, Tensor]:
    """(AP, INP, rank of the first positive) of each row; nan, nan and 0 without a positive."""
    count = row.bincount(minlength=num_rows)
    before = (count.cumsum(0) - count)[row]
    i = torch.arange(1, len(row) + 1) - before
    precision = i / rank.double()
    if convention == "trapezoid":
        precision_before = torch.where(rank == 1, 1.0, (i - 1) / (rank - 1).clamp(min=1).double())
        precision = (precision + precision_before) / 2
    ap = torch.zeros(num_rows, dtype=torch.float64).index_add_(0, row, precision) / count
    last = torch.zeros(num_rows, dtype=torch.int64).scatter_reduce_(0, row, rank, "amax")
    first = torch.zeros(num_rows, dtype=torch.int64).scatter_reduce_(0, row, rank, "amin", include_self=False)
    return ap, count / last.double(), first
