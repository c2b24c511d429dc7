"""Which metrics an experiment asks for, on the embeddings of its test set; `circlet.evaluate` has them.

Metrics of the face test sets are in `face_sets`, those at the thresholds of a run in `promises`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.data import JUNK, DataError
from circlet.data.query_gallery import TestSet
from circlet.evaluate import OpenSetScores, class_intervals, leave_one_class_out
from circlet.evaluate.tasks import (
    QueryValues,
    expanded,
    reid_values,
    retrieval_metrics_over_draws,
    retrieval_values,
)
from circlet.experiments.experiment import Experiment
from circlet.experiments.testing import TestConfig
from circlet.models import Embedded

Bounds = tuple[float, float]
"""Low and high end of an interval."""

FNIR = "fnir@1e-2"
_FPIR = 1e-2
MAX_PAIRS = 2**25  # of open-set figures; of more, those of a sample of the queries
INTERVAL_DRAWS = 1000


class Measured(NamedTuple):
    """Metrics by name, and what they are made of.

    labels: (n,) of the queries of `values`; both empty for means over galleries drawn by lot. open_set: scores of the
    queries when each class is left out in turn; None where no unknown ones can be made (a single class), and for draws.
    """

    metrics: dict[str, float]
    values: QueryValues
    labels: Tensor
    open_set: OpenSetScores | None

    def intervals(self) -> dict[str, Bounds]:
        """95 % intervals over the test classes of the metrics that are means over queries; {} for a single class."""
        found = class_intervals(self.values.values, self.labels, draws=INTERVAL_DRAWS) if self.values.values else {}
        return {name: (each.low, each.high) for name, each in found.items() if each.low == each.low}


def metrics_of(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> dict[str, float]:
    """Metrics of the experiment's task, by name.

    recall@K, precision@5, r_precision, map@r, mrr; or for task reid rank-1, rank-5, rank-10, mAP and mINP. Then
    fnir@1e-2: the share of queries of enrolled classes that are missed (at rank 1) where 1 of 100 of unknown classes is
    let in, each class being left out in turn; only where there are 100 queries. The lower, the better.
    """
    return measured(embedded, test_set, experiment).metrics


def measured(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> Measured:
    """`metrics_of`, with what each query contributes."""
    config, labels, gallery_labels = experiment.test, test_set.query_labels, test_set.gallery_labels
    plain = embedded
    if config.expand:
        embedded = embedded._replace(query=expanded(*embedded, config.expand))
    query, gallery = embedded
    if config.draws and experiment.task != "reid":
        if gallery is not None and gallery_labels is not None:
            query, labels = torch.cat([query, gallery]), torch.cat([labels, gallery_labels])
        seed = experiment.data.seed
        found = retrieval_metrics_over_draws(query, labels, draws=config.draws, seed=seed, ks=experiment.ks)
        return Measured(found, QueryValues({}), labels[:0], None)
    if experiment.task == "reid":
        values = _reid(embedded, test_set, config)
    else:
        values = retrieval_values(query, labels, gallery, gallery_labels, ks=experiment.ks, **test_set.groups)
    open_set, metrics = open_set_scores(plain, test_set, experiment), values.metrics()
    if open_set is not None and _FPIR * len(open_set.unknown_best) >= 1:
        metrics[FNIR] = open_set.at(open_set.threshold_at(_FPIR)).fnir[1]
    return Measured(metrics, values, labels, open_set)


def open_set_scores(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> OpenSetScores | None:
    """The queries when each class is left out in turn (`leave_one_class_out`), by plain cosine similarity.

    For task reid, images of one person under one camera are passed over, and so is junk. Beyond MAX_PAIRS those of a
    sample of the queries, with all that they search. None where there is nothing to find, or one class alone.
    """
    query, gallery = embedded
    labels = test_set.query_labels
    ids = labels if test_set.gallery_labels is None else test_set.gallery_labels
    groups = passed_over(test_set, experiment)
    number = max(1, MAX_PAIRS // len(ids))
    if len(labels) > number and gallery is None:  # a sample is to search all, but for itself
        groups = groups or (torch.arange(len(labels)), torch.arange(len(labels)))
        gallery = query
    try:
        if gallery is None:
            return leave_one_class_out(query, labels, groups=None if groups is None else groups[0])
        chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:number].sort().values
        kept = ~torch.from_numpy(test_set.searched.images.is_junk() & (experiment.task == "reid"))
        return leave_one_class_out(
            query[chosen],
            labels[chosen],
            gallery=gallery[kept],
            gallery_labels=ids[kept],
            groups=None if groups is None else groups[0][chosen],
            gallery_groups=None if groups is None else groups[1][kept],
        )
    except ValueError:
        return None


def passed_over(test_set: TestSet, experiment: Experiment) -> tuple[Tensor, Tensor] | None:
    """Groups of the queries and of what they search, of which a query passes over its own; None: of itself alone."""
    searched, ids = test_set.searched.images, test_set.gallery_labels
    cameras, item_cameras = test_set.query.images.cameras, searched.cameras
    if experiment.task != "reid" or cameras is None or item_cameras is None:
        own = test_set.groups.get("groups")
        return None if own is None else (own, test_set.groups.get("gallery_groups", own))
    labels = test_set.query_labels
    seen = torch.stack([labels, torch.from_numpy(cameras).long()], 1)
    others = torch.stack([labels if ids is None else ids, torch.from_numpy(item_cameras).long()], 1)
    own, theirs = torch.cat([seen, others]).unique(dim=0, return_inverse=True)[1].split([len(seen), len(others)])
    return own, theirs


def _reid(embedded: Embedded, test_set: TestSet, config: TestConfig) -> QueryValues:
    searched = test_set.searched.images
    query_cameras, cameras = test_set.query.images.cameras, searched.cameras
    if query_cameras is None or cameras is None:
        raise DataError("task reid: found images without cameras, expected a camera for each")
    ids = test_set.query_labels if test_set.gallery_labels is None else test_set.gallery_labels
    return reid_values(
        embedded.query,
        test_set.query_labels,
        torch.from_numpy(query_cameras),
        embedded.query if embedded.gallery is None else embedded.gallery,
        ids.masked_fill(torch.from_numpy(searched.is_junk()), JUNK),
        torch.from_numpy(cameras),
        average_precision=config.average_precision,
        reranked=config.rerank,
    )
