"""The metrics of each task, by their usual names, from the embeddings of a test set.

Metrics of the face test sets are in `face_sets`.
"""

import numpy as np
import torch
from torch import Tensor

from circlet.data import DataError
from circlet.evaluate import RetrievalMetrics, expand_queries, reid, reid_from_distances, rerank, retrieval
from circlet.recipes.embedding import Embedded, TestSet
from circlet.recipes.experiment import Experiment
from circlet.recipes.testing import TestConfig

JUNK = "-1"  # class name of the images that re-ID passes over
RANKS = (1, 5, 10)


def metrics_of(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> dict[str, float]:
    """Metrics of the experiment's task.

    recall@K, r_precision, map@r, mrr (`circlet.evaluate.retrieval`); or for task reid rank-1, rank-5, rank-10, mAP and
    mINP (`circlet.evaluate.reid`), "mAP (trapezoid)" in the official convention.
    """
    if experiment.test.expand:
        embedded = _expanded(embedded, experiment.test.expand)
    if experiment.task == "reid":
        return _reid_metrics(embedded, test_set, experiment.test)
    if experiment.test.draws:
        return _metrics_over_draws(embedded, test_set, experiment)
    return retrieval_metrics(
        embedded.query, test_set.query_labels, embedded.gallery, test_set.gallery_labels, experiment.ks
    )


def retrieval_metrics(
    query: Tensor, labels: Tensor, gallery: Tensor | None, gallery_labels: Tensor | None, ks: tuple[int, ...]
) -> dict[str, float]:
    """Retrieval metrics by name, without the Recall@K for which there are too few images."""
    num_searched = len(query) - 1 if gallery is None else len(gallery)
    kept = tuple(k for k in ks if k <= num_searched)
    return as_dict(retrieval(query, labels, ks=kept, gallery=gallery, gallery_labels=gallery_labels))


def as_dict(metrics: RetrievalMetrics) -> dict[str, float]:
    """Retrieval metrics by their usual names."""
    recalls = {f"recall@{k}": value for k, value in metrics.recall_at_k.items()}
    return {**recalls, "r_precision": metrics.r_precision, "map@r": metrics.map_at_r, "mrr": metrics.mrr}


def _expanded(embedded: Embedded, num_neighbours: int) -> Embedded:
    query, gallery = embedded
    if gallery is None:  # an image is among its own neighbours
        return Embedded(expand_queries(query, query, k=min(num_neighbours + 1, len(query))), None)
    return Embedded(expand_queries(query, gallery, k=min(num_neighbours, len(gallery))), gallery)


def _reid_metrics(embedded: Embedded, test_set: TestSet, config: TestConfig) -> dict[str, float]:
    searched = test_set.query if test_set.gallery is None else test_set.gallery
    query_cameras, cameras = test_set.query.images.cameras, searched.images.cameras
    if query_cameras is None or cameras is None:
        raise DataError("task reid: found images without cameras, expected a camera for each")
    query, gallery = embedded.query, embedded.query if embedded.gallery is None else embedded.gallery
    ids = test_set.query_labels if test_set.gallery_labels is None else test_set.gallery_labels
    is_junk = torch.from_numpy(np.array([name == JUNK for name in searched.images.class_names])[searched.images.labels])
    who = test_set.query_labels, torch.from_numpy(query_cameras)
    whom = ids[~is_junk], torch.from_numpy(cameras)[~is_junk]
    convention = config.average_precision
    if config.rerank:
        k1 = min(20, len(query) + len(whom[0]) - 1)
        distances = rerank(query, gallery[~is_junk], k1=k1)
        found = reid_from_distances(distances, *who, *whom, average_precision=convention)
    else:
        found = reid(query, *who, gallery[~is_junk], *whom, average_precision=convention)
    ranks = {f"rank-{k}": float(found.cmc[k - 1]) for k in RANKS if k <= len(found.cmc)}
    mean = "mAP" if convention == "step" else "mAP (trapezoid)"
    return {**ranks, mean: found.map, "mINP": found.minp}


def _metrics_over_draws(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> dict[str, float]:
    """Means over galleries of one image of each class, drawn by lot; all the other images are queries."""
    rows, labels = embedded.query, test_set.query_labels
    if embedded.gallery is not None and test_set.gallery_labels is not None:
        rows, labels = torch.cat([rows, embedded.gallery]), torch.cat([labels, test_set.gallery_labels])
    found = []
    for draw in range(experiment.test.draws):
        order = np.random.default_rng((experiment.data.seed, draw)).permutation(len(labels))
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        chosen[order[np.unique(labels.numpy()[order], return_index=True)[1]]] = True
        found.append(retrieval_metrics(rows[~chosen], labels[~chosen], rows[chosen], labels[chosen], experiment.ks))
    return {name: sum(metrics[name] for metrics in found) / len(found) for name in found[0]}
