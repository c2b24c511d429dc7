"""Which metrics an experiment asks for, on the embeddings of its test set; `circlet.evaluate.tasks` takes them.

Metrics of the face test sets are in `face_sets`.
"""

import torch

from circlet.data import JUNK, DataError
from circlet.data.query_gallery import TestSet
from circlet.evaluate.tasks import expanded, reid_metrics, retrieval_metrics, retrieval_metrics_over_draws
from circlet.experiments.experiment import Experiment
from circlet.experiments.testing import TestConfig
from circlet.models import Embedded


def metrics_of(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> dict[str, float]:
    """Metrics of the experiment's task, by name.

    recall@K, r_precision, map@r, mrr; or for task reid rank-1, rank-5, rank-10, mAP and mINP.
    """
    config, labels, gallery_labels = experiment.test, test_set.query_labels, test_set.gallery_labels
    if config.expand:
        embedded = embedded._replace(query=expanded(*embedded, config.expand))
    query, gallery = embedded
    if experiment.task == "reid":
        return _reid(embedded, test_set, config)
    if config.draws:
        if gallery is not None and gallery_labels is not None:
            query, labels = torch.cat([query, gallery]), torch.cat([labels, gallery_labels])
        seed = experiment.data.seed
        return retrieval_metrics_over_draws(query, labels, draws=config.draws, seed=seed, ks=experiment.ks)
    return retrieval_metrics(query, labels, gallery, gallery_labels, ks=experiment.ks, **test_set.groups)


def _reid(embedded: Embedded, test_set: TestSet, config: TestConfig) -> dict[str, float]:
    searched = test_set.searched.images
    query_cameras, cameras = test_set.query.images.cameras, searched.cameras
    if query_cameras is None or cameras is None:
        raise DataError("task reid: found images without cameras, expected a camera for each")
    ids = test_set.query_labels if test_set.gallery_labels is None else test_set.gallery_labels
    return reid_metrics(
        embedded.query,
        test_set.query_labels,
        torch.from_numpy(query_cameras),
        embedded.query if embedded.gallery is None else embedded.gallery,
        ids.masked_fill(torch.from_numpy(searched.is_junk()), JUNK),
        torch.from_numpy(cameras),
        average_precision=config.average_precision,
        reranked=config.rerank,
    )
