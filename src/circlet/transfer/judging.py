"""Whether an embedding is better than another on validation classes: by an interval over classes, not by a hair."""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.data import ImageSet
from circlet.evaluate.intervals import Interval, class_t_interval
from circlet.evaluate.retrieval import retrieval_by_query

SURE = 0.95  # that what was trained is better than what was there before any training
LIKELY = 0.68  # that one stage is better than the stage before: by a standard error
# Recall@1 that may be lost, as far as chance allows, where MAP@R is surely better: of a few hundred validation queries,
# which is what small sets of photographs have, half a point would be a single one.
RECALL_LOST = 0.01


class Judged(NamedTuple):
    """What the queries of the validation classes found: (n,) each, and their classes.

    Over several folds, those of all folds, one after the other; labels of different folds differ.
    """

    map_at_r: Tensor
    recall_at_1: Tensor
    labels: Tensor

    def summary(self) -> dict[str, float]:
        """Means over the queries."""
        return {"map@r": float(self.map_at_r.mean()), "recall@1": float(self.recall_at_1.mean())}


class Verdict(NamedTuple):
    """The difference of two embeddings on the same queries, with intervals over classes.

    better: MAP@R is higher by its interval, and Recall@1 not lower (by more than a point, or by its interval).
    """

    map_at_r: Interval
    recall_at_1: Interval
    better: bool


def judge(embeddings: Tensor, labels: Tensor, groups: Tensor | None = None) -> Judged:
    """What every query finds among the others of one set of validation classes; those without a match are left out.

    embeddings: (n, dim). labels: (n,) integers. groups: (n,) integers: those of its own group are passed over.
    """
    found = retrieval_by_query(embeddings, labels, groups=groups)
    kept = found.has_match
    return Judged(found.map_at_r[kept], found.recall_at(1)[kept], labels[kept])


def judge_images(embeddings: Tensor, images: ImageSet) -> Judged:
    """As `judge`, by the labels and groups of the images."""
    groups = None if images.groups is None else torch.from_numpy(images.groups)
    return judge(embeddings, torch.from_numpy(images.labels), groups)


def joined(folds: list[Judged]) -> Judged:
    """The queries of several folds."""
    labels, largest = [], 0
    for fold in folds:
        labels.append(fold.labels + largest)
        largest = int(labels[-1].max()) + 1 if len(fold.labels) else largest
    return Judged(
        torch.cat([fold.map_at_r for fold in folds]), torch.cat([fold.recall_at_1 for fold in folds]), torch.cat(labels)
    )


def compare(after: Judged, before: Judged, confidence: float = SURE) -> Verdict:
    """Whether `after` is better than `before`, of which each query is the same, by intervals of that confidence.

    >>> labels = torch.arange(40) // 4
    >>> before = Judged(torch.full((40,), 0.5), torch.ones(40), labels)
    >>> compare(before._replace(map_at_r=before.map_at_r + 0.1 + 0.01 * (labels % 2)), before).better
    True
    >>> compare(before._replace(map_at_r=before.map_at_r + 0.1 * (labels % 2) - 0.05), before).better
    False
    """
    map_at_r = class_t_interval(after.map_at_r - before.map_at_r, after.labels, confidence=confidence)
    recall = class_t_interval(after.recall_at_1 - before.recall_at_1, after.labels, confidence=confidence)
    loses = recall.mean < -RECALL_LOST or recall.high < 0
    return Verdict(map_at_r, recall, map_at_r.low > 0 and not loses)
