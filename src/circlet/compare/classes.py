"""What a run found in each of its test classes: classes.json, by which losses are compared class by class.

Only where every query has a MAP@R of its own: not for re-identification, nor over galleries that are drawn by lot.
"""

from pathlib import Path
from typing import Any

import torch

from circlet.data.query_gallery import TestSet
from circlet.evaluate.retrieval import retrieval_by_query
from circlet.evaluate.tasks import expanded
from circlet.experiments import Experiment
from circlet.files import nan_for_null, read_json, write_json
from circlet.models import Embedded

ClassValues = dict[str, dict[str, float]]
"""By the name of a class: "map@r" and "recall@1", means over its queries that have a match, and their number."""

FILE = "classes.json"


def by_class(embedded: Embedded, test_set: TestSet, experiment: Experiment) -> ClassValues:
    """Means over the queries of each test class that has any with a match; empty for tasks without these values."""
    if experiment.task == "reid" or experiment.test.draws:
        return {}
    query, gallery = embedded
    if experiment.test.expand:
        query = expanded(query, gallery, experiment.test.expand)
    images = test_set.query.images
    found = retrieval_by_query(
        query, test_set.query_labels, gallery=gallery, gallery_labels=test_set.gallery_labels, **test_set.groups
    )
    labels = torch.from_numpy(images.labels)
    values: ClassValues = {}
    for label, name in enumerate(images.class_names):
        own = (labels == label) & found.has_match
        if count := int(own.sum()):
            map_at_r, recall = (float(part[own].double().mean()) for part in (found.map_at_r, found.recall_at(1)))
            values[name] = {"map@r": map_at_r, "recall@1": recall, "queries": count}
    return values


def write_classes(folder: Path, classes: ClassValues, frozen: ClassValues | None = None) -> None:
    """Write a run's classes.json, if there is anything to write. frozen: the same, of the network before training."""
    if classes:
        write_json(folder / FILE, {"classes": classes} | ({"frozen": frozen} if frozen else {}))


def read_classes(folder: Path, part: str = "classes") -> ClassValues:
    """What `write_classes` wrote; empty where there is nothing, as in runs of earlier versions."""
    if not (folder / FILE).exists():
        return {}
    content: dict[str, Any] = nan_for_null(read_json(folder / FILE, dict[str, dict[str, dict[str, float | None]]]))
    found: ClassValues = content.get(part, {})
    return found
