"""The stages on the features of a frozen network: the closed form, then a linear head from there; judged by folds.

Each fold of the training classes is held out once: what is fitted to the others is judged on it (`judge_stages`). What
proves better than the frozen network is then fitted to all training classes (`fit_kept`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from circlet.data import ImageSet, fold_classes
from circlet.data.images import JoinedClassesError
from circlet.training.image_batches import BatchConfig
from circlet.training.objective import Objective
from circlet.transfer.closed_form import LinearMap, WithinClasses, projected, unchanged
from circlet.transfer.config import TransferConfig
from circlet.transfer.head import Observe, TrainedHead, train_head
from circlet.transfer.judging import LIKELY, SURE, Judged, Verdict, compare, joined, judge

LEAST_CLASSES = 4  # of a fold: among fewer, almost anything is found
CLOSED_FORM, HEAD = "closed form", "linear head"

MakeObjective = Callable[[int, int], Objective]
"""(num_classes, embedding_dim) to the loss with fresh class weights, if it has any."""


class Stage(NamedTuple):
    """What a stage gave: validation is that of the embedding with it, verdict the difference to what was kept before.

    settings: what was chosen, as plain values. kept: whether it is part of the result.
    """

    name: str
    settings: dict[str, Any]
    validation: dict[str, float]
    verdict: Verdict
    kept: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        difference = {"map@r": list(self.verdict.map_at_r), "recall@1": list(self.verdict.recall_at_1)}
        plain = {"stage": self.name, "settings": self.settings, "validation": self.validation}
        return {**plain, "difference": difference, "kept": self.kept, "seconds": round(self.seconds, 1)}


class Unseen(NamedTuple):
    """A head, and the numbers of training images of classes that it was not fitted to."""

    rows: list[int]
    head: LinearMap


class Judgement(NamedTuple):
    """What the stages on frozen features are worth.

    frozen: what the frozen network gives on the validation classes; None where there are too few to judge. shrinkage:
    of the closed form that is kept; None: none is. verdict: on all that is kept, against the frozen network; None where
    nothing is. unseen: of what is kept, by folds, each with the head that was fitted to the others; where nothing is
    kept, all images and the frozen network, which has seen none. So every training class is once embedded as an unseen
    one is.
    """

    frozen: dict[str, float] | None
    stages: list[Stage]
    shrinkage: float | None
    verdict: Verdict | None
    unseen: tuple[Unseen, ...] = ()

    @property
    def kept(self) -> list[str]:
        """Names of the stages that are part of the result."""
        return [stage.name for stage in self.stages if stage.kept]


@dataclass(frozen=True)
class Fitting:
    """How heads are fitted: the settings, the batches, the loss, the length of an embedding (None: of the features)."""

    config: TransferConfig
    batch: BatchConfig
    make_objective: MakeObjective
    embedding_dim: int | None
    seed: int

    def head(self, looks: Tensor, labels: Tensor, start: LinearMap, observe: Observe | None = None) -> TrainedHead:
        """The linear head trained from `start` on the features (looks, n, features) of images of these classes."""
        torch.manual_seed(self.seed)
        objective = self.make_objective(int(labels.max()) + 1, len(start.bias))
        return train_head(
            list(looks), labels, start, objective, self.config.head, self.batch, seed=self.seed, observe=observe
        )

    def shortened(self, head: LinearMap, features: Tensor) -> LinearMap:
        """The head, followed by a projection where an embedding is to be shorter than the features."""
        dim = self.embedding_dim
        return head if dim is None or dim == len(head.bias) else projected(head, features, dim)


class Fold(NamedTuple):
    """Features and labels to fit, and to judge on; labels of either count its own classes. looks: (looks, n, dim).

    rows: which of all images are held out.
    """

    rows: list[int]
    looks: Tensor
    labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor
    held_out_groups: Tensor | None

    def judged(self, head: LinearMap) -> Judged:
        """What a head is worth on the classes held out."""
        return judge(head(self.held_out), self.held_out_labels, self.held_out_groups)


def judge_stages(images: ImageSet, looks: Tensor, fitting: Fitting) -> Judgement:
    """Which stages of the settings to keep, but for the network's.

    looks: (looks, n, features), of the training images as they are seen in testing, and perhaps otherwise too.

    Of features without any meaning, where nothing can be gained, something is kept in 3 of 100 cases with 40 classes,
    and in 8 with 12: the best of several shrinkages is taken, and folds are not independent. What is kept then does
    neither good nor harm.
    """
    config = fitting.config
    folds = _folds(images, looks, config.folds, fitting.seed)
    untrained = (Unseen(list(range(len(images))), fitting.shortened(unchanged(looks.shape[2]), looks[0])),)
    if not folds:
        return Judgement(None, [], None, None, untrained)
    frozen = joined([fold.judged(unchanged(looks.shape[2])) for fold in folds])
    if not len(frozen.labels):  # nothing to find outside of one's own group
        return Judgement(None, [], None, None, untrained)
    starts, before, shrinkage = [unchanged(looks.shape[2])] * len(folds), frozen, None
    stages: list[Stage] = []
    if "closed_form" in config.stages:
        began = time.monotonic()
        spreads = [WithinClasses(fold.looks[0], fold.labels) for fold in folds]
        tried = {s: [spread.whitening(s) for spread in spreads] for s in config.shrinkages}
        judged = {s: _judged(maps, folds, fitting) for s, maps in tried.items()}
        best = max(judged, key=lambda s: float(judged[s].map_at_r.mean()))
        stages.append(_stage(CLOSED_FORM, {"shrinkage": best}, judged[best], before, began))
        if stages[-1].kept:
            shrinkage, starts, before = best, tried[best], judged[best]
    if "head" in config.stages and config.head.steps:
        began = time.monotonic()
        begun = zip(folds, starts, strict=True)
        heads = [fitting.head(fold.looks, fold.labels, start).head for fold, start in begun]
        found = _judged(heads, folds, fitting)
        settings = {"steps": config.head.steps, "learning_rate": config.head.learning_rate}
        stages.append(_stage(HEAD, settings, found, before, began))
        if stages[-1].kept:
            starts, before = heads, found
    verdict = None
    if any(stage.kept for stage in stages):
        verdict = compare(before, frozen, SURE)
    if verdict is None or not verdict.better:  # a stage may look better than the one before it by chance
        return Judgement(frozen.summary(), [stage._replace(kept=False) for stage in stages], None, None, untrained)
    pairs = zip(folds, starts, strict=True)
    unseen = tuple(Unseen(fold.rows, fitting.shortened(head, fold.looks[0])) for fold, head in pairs)
    return Judgement(frozen.summary(), stages, shrinkage, verdict, unseen)


def fit_kept(
    judgement: Judgement, images: ImageSet, looks: Tensor, fitting: Fitting, *, observe: Observe | None = None
) -> TrainedHead:
    """The head of the stages that are kept, fitted to images by their features (looks, n, dim); of any network.

    Where none is kept it leaves features as they are; where an embedding is shorter than these, it projects at the end.
    """
    labels = torch.from_numpy(images.labels)
    found = TrainedHead(unchanged(looks.shape[2]), [])
    if judgement.shrinkage is not None:
        found = TrainedHead(WithinClasses(looks[0], labels).whitening(judgement.shrinkage), [])
    if HEAD in judgement.kept:
        found = fitting.head(looks, labels, found.head, observe)
    return found._replace(head=fitting.shortened(found.head, looks[0]))


def _folds(images: ImageSet, looks: Tensor, wanted: int, seed: int) -> list[Fold]:
    """Folds by classes (groups of images are not cut), each with `LEAST_CLASSES`; none where there are too few."""
    number = min(wanted, images.num_classes // LEAST_CLASSES)
    if number < 2:
        return []
    try:
        cut = fold_classes(numbered(images), number, seed)
    except JoinedClassesError:
        return []
    if not all(has_pairs(part) for parts in cut for part in parts):
        return []
    folds = []
    for parts in cut:
        rows = [looks[:, numbers(part)] for part in parts]
        labels = [torch.from_numpy(part.labels) for part in parts]
        groups = None if parts[1].groups is None else torch.from_numpy(parts[1].groups)
        folds.append(Fold(numbers(parts[1]), rows[0], labels[0], rows[1][0], labels[1], groups))
    return folds


def numbered(images: ImageSet) -> ImageSet:
    """The images with their numbers as names, so that after a split it is known which they were (`numbers`)."""
    return replace(images, names=tuple(map(str, range(len(images)))))


def numbers(part: ImageSet) -> list[int]:
    """Which images of a set that was `numbered` are in this part of it."""
    return [int(name) for name in part.names]


def has_pairs(images: ImageSet) -> bool:
    """Whether some class has two images: without, there is nothing to learn from and nothing to find."""
    return bool(np.bincount(images.labels).max(initial=0) > 1)


def _judged(heads: list[LinearMap], folds: list[Fold], fitting: Fitting) -> Judged:
    """What heads are worth on the folds that they were not fitted to; as short as embeddings are to be."""
    pairs = zip(heads, folds, strict=True)
    return joined([fold.judged(fitting.shortened(head, fold.looks[0])) for head, fold in pairs])


def _stage(name: str, settings: dict[str, Any], found: Judged, before: Judged, began: float) -> Stage:
    verdict = compare(found, before, LIKELY)
    return Stage(name, settings, found.summary(), verdict, verdict.better, time.monotonic() - began)
