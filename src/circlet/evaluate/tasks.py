"""The metrics of each task by their usual names, as they stand in result.json and in the tables of papers.

All on plain tensors; the numbers are those of the other files of this package, and nothing is computed here but means,
over queries and over galleries drawn by lot. What each query contributes is kept, for intervals over classes.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from circlet.data.images import JUNK
from circlet.evaluate.expansion import expand_queries
from circlet.evaluate.identification import identification
from circlet.evaluate.reid import AveragePrecision, reid, reid_from_distances
from circlet.evaluate.rerank import rerank
from circlet.evaluate.retrieval import require_a_match, retrieval_by_query
from circlet.evaluate.roc import FarMode
from circlet.evaluate.templates import template_verification
from circlet.evaluate.verification import verification

RANKS = (1, 5, 10)
PRECISION_KS = (5,)


def expanded(query: Tensor, gallery: Tensor | None, num_neighbours: int) -> Tensor:
    """The queries, moved towards their nearest in the gallery, or without one among themselves (`expand_queries`)."""
    if gallery is None:  # an image is among its own neighbours
        return expand_queries(query, query, k=min(num_neighbours + 1, len(query)))
    return expand_queries(query, gallery, k=min(num_neighbours, len(gallery)))


class QueryValues(NamedTuple):
    """What each query contributes to each metric: {name: (n,) float64}, nan where it does not count."""

    values: dict[str, Tensor]

    def metrics(self) -> dict[str, float]:
        """The means over the queries that count."""
        return {name: value[~value.isnan()].mean().item() for name, value in self.values.items()}


def retrieval_values(
    query: Tensor,
    labels: Tensor,
    gallery: Tensor | None,
    gallery_labels: Tensor | None,
    *,
    ks: tuple[int, ...],
    groups: Tensor | None = None,
    gallery_groups: Tensor | None = None,
) -> QueryValues:
    """recall@K, precision@5, r_precision, map@r, mrr (`retrieval`), without those K for which there are too few images.

    >>> rows, labels = torch.eye(2).repeat(4, 1), torch.tensor([0, 1]).repeat(4)
    >>> retrieval_values(rows, labels, None, None, ks=(1, 100)).metrics()
    {'recall@1': 1.0, 'precision@5': 0.6, 'r_precision': 1.0, 'map@r': 1.0, 'mrr': 1.0}

    groups, gallery_groups: of the queries and of the gallery: queries pass over those of their own. ValueError where no
    query has anything to find.
    """
    num_searched = len(query) - 1 if gallery is None else len(gallery)
    precision_ks = tuple(k for k in PRECISION_KS if k <= num_searched)
    found = retrieval_by_query(
        query,
        labels,
        precision_ks=precision_ks,
        gallery=gallery,
        gallery_labels=gallery_labels,
        groups=groups,
        gallery_groups=gallery_groups,
    )
    require_a_match(found.has_match, num_searched, gallery is not None, groups is not None)
    of_matched = {
        **{f"precision@{k}": found.precision_at(k) for k in precision_ks},
        "r_precision": found.r_precision,
        "map@r": found.map_at_r,
        "mrr": found.rank.double().reciprocal(),
    }
    recalls = {f"recall@{k}": found.recall_at(k) for k in ks if k <= num_searched}
    matched = {name: value.masked_fill(~found.has_match, torch.nan) for name, value in of_matched.items()}
    return QueryValues({**recalls, **matched})


def retrieval_metrics_over_draws(
    rows: Tensor, labels: Tensor, *, draws: int, seed: int, ks: tuple[int, ...]
) -> dict[str, float]:
    """Means over galleries of one image of each class, drawn by lot; all the other images are queries (VehicleID).

    ValueError where no class has a second image, which would be a query.
    """
    if len(labels.unique()) == len(labels):
        raise ValueError(f"labels: found {len(labels)} images of as many classes, expected a class of two at least")
    found = []
    for draw in range(draws):
        order = np.random.default_rng((seed, draw)).permutation(len(labels))
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        chosen[order[np.unique(labels.numpy()[order], return_index=True)[1]]] = True
        values = retrieval_values(rows[~chosen], labels[~chosen], rows[chosen], labels[chosen], ks=ks)
        found.append(values.metrics())
    return {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}


def reid_values(
    query: Tensor,
    query_ids: Tensor,
    query_cameras: Tensor,
    gallery: Tensor,
    gallery_ids: Tensor,
    gallery_cameras: Tensor,
    *,
    average_precision: AveragePrecision = "step",
    reranked: bool = False,
) -> QueryValues:
    """rank-1, rank-5, rank-10, mAP, mINP (`reid`); "mAP (trapezoid)" in the official convention.

    Gallery images of id -1 are junk, which is nobody's neighbour. reranked: by k-reciprocal re-ranking (`rerank`).
    """
    kept = gallery_ids != JUNK
    gallery, ids, cameras = gallery[kept], gallery_ids[kept], gallery_cameras[kept]
    who = query_ids, query_cameras
    if reranked:
        distances = rerank(query, gallery, k1=min(20, len(query) + len(ids) - 1))
        found = reid_from_distances(distances, *who, ids, cameras, average_precision=average_precision)
    else:
        found = reid(query, *who, gallery, ids, cameras, average_precision=average_precision)
    hit = found.first_ranks > 0
    values = {f"rank-{k}": (hit & (found.first_ranks <= k)).double() for k in RANKS if k <= len(found.cmc)}
    values["mAP" if average_precision == "step" else "mAP (trapezoid)"] = found.average_precisions
    values["mINP"] = found.inps
    missing = torch.nan if average_precision == "step" else 0.0  # of queries without anything to find
    return QueryValues({name: value.masked_fill(~hit, missing) for name, value in values.items()})


def verification_metrics(name: str, rows: Tensor, is_same: Tensor, *, folds: int) -> dict[str, float]:
    """Of a set of pairs: NAME, accuracy over folds, "NAME std" its deviation, "NAME@1e-3" TAR at that FAR.

    rows: (2 pairs, dim), pair i in rows 2i and 2i + 1; see `verification`.
    """
    result = verification(rows, is_same, folds=folds)
    return {name: result.accuracy, f"{name} std": result.accuracy_std, f"{name}@1e-3": result.tar_at_far[1e-3]}


def template_metrics(
    name: str,
    features: Tensor,
    template_ids: Tensor,
    media_ids: Tensor,
    pairs: Tensor,
    is_same: Tensor,
    *,
    detector_scores: Tensor,
    far_mode: FarMode,
) -> dict[str, float]:
    """Of a set of templates: "NAME@1e-3", "NAME@1e-4", "NAME@1e-5", TAR at that FAR; see `template_verification`.

    "NAME@... (at most)" with far_mode at_most.
    """
    result = template_verification(
        features,
        template_ids,
        media_ids,
        pairs,
        is_same,
        detector_scores=detector_scores,
        fars=(1e-5, 1e-4, 1e-3),
        far_mode=far_mode,
    )
    mode = "" if far_mode == "nearest" else " (at most)"
    return {f"{name}@1e-{n}{mode}": result.tar_at_far[far] for n, far in ((3, 1e-3), (4, 1e-4), (5, 1e-5))}


def identification_metrics(name: str, probes: Tensor, ids: Tensor, distractors: Tensor) -> dict[str, float]:
    """Of probes among distractors: NAME, rank-1 identification, "NAME@1e-6" TAR at that FAR (`identification`)."""
    result = identification(probes, ids, distractors, ranks=(1,))
    return {name: result.rank_accuracy[1], f"{name}@1e-6": result.tar_at_far[1e-6]}
