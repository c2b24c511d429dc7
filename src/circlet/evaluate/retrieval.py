"""Retrieval metrics: how well an item finds the others of its class, among classes never trained on.

Recall@K, Precision@K, R-Precision, MAP@R and MRR from cosine similarity, for one set of items (each queries all the
others) or for queries against a separate gallery. Protocols with cameras and junk are in `circlet.evaluate.reid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.distributed import all_call
from circlet.evaluate.asked import Asked, checked, parts
from circlet.evaluate.neighbours import row_blocks
from circlet.evaluate.spread import Place, spread, worth_sharing
from circlet.evaluate.spread_neighbours import spread_nearest, without_itself

__all__ = ["QueryMetrics", "RetrievalMetrics", "retrieval", "retrieval_by_query"]

_MIN_NEIGHBOURS = 16  # most queries have a hit among so many; for the others whole rows are computed once more


@dataclass(frozen=True)
class RetrievalMetrics:
    """What `retrieval` found, as fractions in [0, 1].

    recall_at_k: {K: fraction of all queries with a hit among the K nearest}.
    precision_at_k: {K: mean fraction of hits among the K nearest, over the queries that have a match}.
    r_precision: mean R-Precision over the queries that have a match.
    map_at_r: mean MAP@R over the same.
    mrr: mean reciprocal rank of the first hit in the full ranking, over the same.
    num_queries: all queries, lone ones included.
    num_lone_queries: queries without any match in the gallery: misses for Recall@K, left out of the rest.
    """

    recall_at_k: dict[int, float]
    r_precision: float
    map_at_r: float
    mrr: float
    num_queries: int
    num_lone_queries: int
    precision_at_k: dict[int, float]


@dataclass(frozen=True)
class QueryMetrics:
    """What each of n queries found: what the means of `RetrievalMetrics` are made of.

    has_match: (n,) bool, whether there is anything to find; where not, the other three mean nothing. rank: (n,) int64,
    place of the first hit in the full ranking, from 1. r_precision, map_at_r: (n,) float64. hits: {K: (n,) int64, how
    many of the K nearest are hits}, for those asked for.
    """

    has_match: Tensor
    rank: Tensor
    r_precision: Tensor
    map_at_r: Tensor
    hits: dict[int, Tensor]

    def precision_at(self, k: int) -> Tensor:
        """(n,) float64: share of hits among the k nearest; k one of those asked for."""
        return self.hits[k].double() / k

    def recall_at(self, k: int) -> Tensor:
        """(n,) float64: 1 where a hit is among the k nearest, else 0, for queries without a match too."""
        return (self.has_match & (self.rank <= k)).double()


def retrieval(
    embeddings: Tensor,
    labels: Tensor | Sequence[int],
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    precision_ks: Sequence[int] = (),
    gallery: Tensor | None = None,
    gallery_labels: Tensor | Sequence[int] | None = None,
    groups: Tensor | Sequence[int] | None = None,
    gallery_groups: Tensor | Sequence[int] | None = None,
    block_size: int = 4096,
    over_ranks: bool = False,
) -> RetrievalMetrics:
    r"""Recall@K, Precision@K, R-Precision, MAP@R and MRR by cosine similarity.

    >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0], [0.6, 0.8]])
    >>> metrics = retrieval(points, [0, 0, 1, 1, 0], ks=(1, 2))
    >>> metrics.recall_at_k
    {1: 0.8, 2: 0.8}
    >>> round(metrics.r_precision, 3), round(metrics.map_at_r, 3), round(metrics.mrr, 3)
    (0.8, 0.8, 0.867)

    Each query ranks the gallery by descending cosine similarity, equal similarities by gallery index; without a
    gallery it ranks all the other items, itself left out *by index* (an exact copy of it stays). With rel(i) = 1 where
    the i-th ranked item has the query's label, R = the number of such items and P(i) = (1/i) sum_{j<=i} rel(j):

        Recall@K    = 1 if any rel(i), i <= K           (Oh Song et al., CVPR 2016)
        Precision@K = P(K)                              (below 1 for queries with R < K; some divide by min(K, R))
        R-Precision = P(R)                              (Musgrave et al., "A Metric Learning Reality Check", 2020)
        MAP@R       = (1/R) sum_{i<=R} P(i) rel(i)      (the same)
        MRR         = 1/i of the first rel(i) = 1, i over the full ranking

    and their means over queries. A query with R = 0 (lone) is a miss for Recall@K and left out of the others, as in the
    benchmark code of Oh Song et al. and in pytorch-metric-learning. Customary K: 1, 2, 4, 8 (CUB-200 and Cars196);
    1, 10, 100, 1000 (Stanford Online Products); 1, 10, 20, 30, 40, 50 (In-Shop, queries against gallery).

    embeddings: (n, dim), any float dtype and device; normalised inside, in float32 (float64 for float64).
    labels: (n,) integers.
    ks: the K of Recall@K, each at most the number of candidates. precision_ks: those of Precision@K, likewise.
    gallery: (m, dim) on the same device, or None: the items are each other's gallery.
    gallery_labels: (m,) integers, with `gallery` only.
    groups: (n,) integers: a query passes over all items of its own group, as over itself, such as the other shots of
        one burst, or its own file in the gallery, which anything finds. None: each item is a group of its own.
    gallery_groups: (m,) integers, with `gallery` and `groups` only.
    block_size: side of the tiles of similarities; decides memory and speed, not the result.
    over_ranks: all ranks of a process group call this with rows of their own, perhaps none, and the metrics, the same
        on every rank, are those of one process that has them all in the order of the ranks. No rank holds more than its
        share of the rows, in whole blocks, and one block of another.

    Raises ValueError: a wrong shape, dtype or device, an embedding that is not finite, fewer than two items, an empty
        gallery, gallery without gallery_labels or the reverse, likewise for groups, a K out of range; and where every
        query is lone, since there is nothing to measure.

    Degenerate input: a zero vector has similarity 0 with everything.

    Precision: vectors that are equal rank by index as long as the products come out equal, which matrix
    multiplication does not promise for different positions and block sizes (nor on different devices): similarities
    closer than a rounding error (1e-7 in float32) may swap. TensorFloat-32, if you switched it on, widens that to 1e-3.

    Extra memory: O(block_size^2 + n k) for k = max(R, 16, precision_ks), or O(block_size^2) if k > block_size / 8.
    """
    asked = Asked(embeddings, labels, gallery, gallery_labels, groups, gallery_groups)
    found, num_candidates = _by_query(asked, block_size, precision_ks, over_ranks=over_ranks)
    _check_counts("ks", ks, num_candidates)
    has_match = found.has_match
    require_a_match(has_match, num_candidates, gallery is not None, groups is not None)
    return RetrievalMetrics(
        recall_at_k={int(K): found.recall_at(K).mean().item() for K in ks},
        r_precision=found.r_precision[has_match].mean().item(),
        map_at_r=found.map_at_r[has_match].mean().item(),
        mrr=found.rank[has_match].double().reciprocal().mean().item(),
        num_queries=len(has_match),
        num_lone_queries=int((~has_match).sum()),
        precision_at_k={int(K): found.precision_at(int(K))[has_match].mean().item() for K in precision_ks},
    )


def retrieval_by_query(
    embeddings: Tensor,
    labels: Tensor | Sequence[int],
    *,
    precision_ks: Sequence[int] = (),
    gallery: Tensor | None = None,
    gallery_labels: Tensor | Sequence[int] | None = None,
    groups: Tensor | Sequence[int] | None = None,
    gallery_groups: Tensor | Sequence[int] | None = None,
    block_size: int = 4096,
    over_ranks: bool = False,
) -> QueryMetrics:
    """What every query found, on the CPU; arguments, protocol and errors as those of `retrieval`, but any may be lone.

    >>> retrieval_by_query(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), [0, 0, 1]).map_at_r.tolist()
    [1.0, 1.0, 0.0]
    """
    asked = Asked(embeddings, labels, gallery, gallery_labels, groups, gallery_groups)
    return _by_query(asked, block_size, precision_ks, over_ranks=over_ranks)[0]


@torch.no_grad()
def _by_query(
    asked: Asked, block_size: int, precision_ks: Sequence[int], *, over_ranks: bool
) -> tuple[QueryMetrics, int]:
    """What every query found, and among how many candidates."""
    if block_size < 1:
        raise ValueError(f"block_size: found {block_size}, expected at least 1")
    try:
        given = checked(asked, may_be_empty=over_ranks)
    except ValueError as error:
        spread(asked.embeddings, block_size, over_ranks=over_ranks, error=error)
        raise
    if not over_ranks and worth_sharing(len(given.labels) * len(given.item_labels)):
        return all_call(_by_query_of_part, (block_size, tuple(precision_ks)), parts(asked, block_size))
    queries = spread(given.queries, block_size, over_ranks=over_ranks)
    labels = queries.place.of_all(given.labels)
    groups = None if given.groups is None else queries.place.of_all(given.groups)
    items, item_labels, item_groups = queries, labels, groups
    if given.items is not None:
        items = spread(given.items, block_size, over_ranks=over_ranks)
        item_labels = items.place.of_all(given.item_labels)
        item_groups = None if given.item_groups is None else items.place.of_all(given.item_groups)
    own = given.items is None  # without a gallery every query is among the items, and left out
    num_candidates = len(item_labels) - own
    if num_candidates < 1:
        raise ValueError("embeddings: found 1 item, expected at least 2 (or a gallery)")
    _check_counts("precision_ks", precision_ks, num_candidates)

    num_relevant = count_of(labels, item_labels) - int(own)
    passed_over = 0
    if groups is not None and item_groups is not None:
        pairs = torch.stack([torch.cat([groups, item_groups]), torch.cat([labels, item_labels])], 1)
        of_query, of_item = pairs.unique(dim=0, return_inverse=True)[1].split([len(labels), len(item_labels)])
        num_relevant = num_relevant + int(own) - count_of(of_query, of_item)
        passed_over = int(count_of(groups, item_groups).max()) - int(own)
    k = min(max(int(num_relevant.max()), _MIN_NEIGHBOURS, *map(int, precision_ks)) + passed_over, num_candidates)
    device = given.queries.device
    first_hit = torch.empty(len(labels), dtype=torch.int64, device=device)  # number of items before it
    r_precision = torch.empty(len(labels), dtype=torch.float64)
    map_at_r = torch.empty(len(labels), dtype=torch.float64)
    hits_among = {int(K): torch.empty(len(labels), dtype=torch.int64) for K in precision_ks}
    with torch.autocast(device.type, enabled=False):
        for rows, neighbours in spread_nearest(queries, None if own else items, k, block_size=block_size):
            hits = item_labels[neighbours] == labels[rows, None]
            if groups is not None and item_groups is not None:  # to the end with them, where they are no hits
                theirs = item_groups[neighbours] == groups[rows, None]
                order = theirs.int().argsort(dim=1, stable=True)
                hits = (hits & ~theirs).gather(1, order)
            first_hit[rows] = torch.where(hits.any(1), hits.int().argmax(1), k)
            r_precision[rows], map_at_r[rows] = _at_r(hits.cpu(), num_relevant[rows].cpu())
            for K, counted in hits_among.items():
                counted[rows] = hits[:, :K].sum(1).cpu()
        missed = ((first_hit == k) & (num_relevant > 0)).nonzero().squeeze(1)
        here = items.place.here
        for part in row_blocks(len(missed), len(item_labels), block_size):
            chosen = missed[part]
            same = labels[chosen, None] == item_labels[here]
            similarities = without_itself(items.products(queries.take(chosen), block_size), chosen, items, own)
            if groups is not None and item_groups is not None:
                theirs = groups[chosen, None] == item_groups[here]
                same, similarities = same & ~theirs, similarities.masked_fill(theirs, -torch.inf)
            first_hit[chosen] = _num_before_first_hit(similarities, same, items.place)

    found = QueryMetrics((num_relevant > 0).cpu(), 1 + first_hit.cpu(), r_precision, map_at_r, hits_among)
    return found, num_candidates


def _by_query_of_part(block_size: int, precision_ks: tuple[int, ...], part: Asked) -> tuple[QueryMetrics, int]:
    return _by_query(part, block_size, precision_ks, over_ranks=True)


def _at_r(hits: Tensor, num_relevant: Tensor) -> tuple[Tensor, Tensor]:
    """R-Precision and MAP@R of each row of hits (rows, k), k >= R; 0 where R = 0."""
    place = torch.arange(1, hits.shape[1] + 1)
    within = hits & (place <= num_relevant[:, None])
    divisor = num_relevant.clamp(min=1).double()
    precision_at_hit = within.cumsum(1).double() / place * within
    return within.sum(1) / divisor, precision_at_hit.sum(1) / divisor


def _num_before_first_hit(similarities: Tensor, same: Tensor, place: Place) -> Tensor:
    """Count, per row (some `same` needed in each), the items that rank before the best item of `same`.

    place: which of the items are here, if others are on other ranks.
    """
    none = similarities.new_full((len(similarities), 1), -torch.inf)
    best = place.most(torch.cat([similarities.masked_fill(~same, -torch.inf), none], 1).amax(dim=1, keepdim=True))
    numbers = torch.arange(place.here.start, place.here.stop, device=similarities.device)
    ties = similarities == best
    last = numbers.new_full((len(similarities), 1), place.total)
    first = place.least(torch.cat([torch.where(ties & same, numbers, place.total), last], 1).amin(1, keepdim=True))
    return place.summed(((similarities > best) | (ties & (numbers < first))).sum(dim=1))


def count_of(query_labels: Tensor, item_labels: Tensor) -> Tensor:
    """How many items bear the label of each query."""
    present, counts = item_labels.unique(return_counts=True)
    place = torch.searchsorted(present, query_labels).clamp(max=len(present) - 1)
    return torch.where(present[place] == query_labels, counts[place], 0)


def require_a_match(has_match: Tensor, num_candidates: int, with_gallery: bool, with_groups: bool) -> None:
    """ValueError where no query of (n,) has anything to find."""
    if not has_match.any():
        where = "gallery_labels" if with_gallery else "others"
        apart = " in another group" if with_groups else ""
        raise ValueError(f"labels: found {len(has_match)} queries without any match among the {num_candidates} "
                         f"{where}, expected at least one item of a query's label{apart}")  # fmt: skip


def _check_counts(name: str, ks: Sequence[int], num_candidates: int) -> None:
    for K in ks:
        if int(K) != K or not 1 <= K <= num_candidates:
            raise ValueError(
                f"{name}: found {K}, expected integers from 1 to {num_candidates}, the number of candidates"
            )
