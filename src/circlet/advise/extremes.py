"""What a loss would be at its two ends: for embeddings that know nothing, and for perfect ones.

A loss in training means little by itself: 235 is a normal start for Circle loss with gamma = 256, and 6.7 may be the
least that another can reach. Both ends follow from the loss and the number of references alone.
"""

from typing import NamedTuple

import torch

from circlet.experiments import Experiment
from circlet.losses import PairLoss

ANCHORS, MAX_NEGATIVES = 64, 20_000


class Counts(NamedTuple):
    """References of an anchor: its positives and its negatives."""

    positives: int
    negatives: int


def counts(experiment: Experiment, train_classes: int | None) -> Counts | None:
    """How many positives and negatives an anchor has; None for class weights of unknown number.

    >>> from circlet.experiments import BatchConfig
    >>> counts(Experiment(batch=BatchConfig(classes=16, samples=5)), None)
    Counts(positives=4, negatives=75)

    train_classes: in the data; augmentation may make more of them. The rows of a memory bank count as negatives.
    """
    loss, batch, views = experiment.loss, experiment.batch, experiment.augment.classes_per_class
    if loss.level != "pair" and train_classes is None:
        return None
    positives, negatives = 0, loss.memory
    if train_classes is not None and loss.level != "pair":
        positives, negatives = 1, negatives + max(1, round(loss.sample * (views * train_classes - 1)))
    if loss.level != "class":
        in_batch = batch.classes if train_classes is None else min(batch.classes, views * train_classes)
        positives, negatives = positives + batch.samples - 1, negatives + (in_batch - 1) * batch.samples
    return Counts(positives, negatives)


def chance_loss(loss: PairLoss, references: Counts, dim: int) -> float:
    """Mean loss of random embeddings of length `dim`.

    >>> from circlet import CircleLoss
    >>> round(chance_loss(CircleLoss(margin=0.4, gamma=80.0), Counts(4, 75), dim=100_000))
    60

    As dim grows every similarity tends to 0, and Circle's loss to log(positives negatives) + gamma (1 - 2 m^2); with a
    large gamma and many negatives the largest of the random similarities counts, so they are drawn.
    """
    generator = torch.Generator().manual_seed(0)
    negatives = min(references.negatives, MAX_NEGATIVES)
    rows = torch.randn(references.positives + negatives, dim, generator=generator)
    anchors = torch.randn(ANCHORS, dim, generator=generator)
    return _loss(loss, anchors, rows, references.positives)


def perfect_loss(loss: PairLoss, references: Counts) -> float:
    """Loss of an anchor that is equal to its positives and orthogonal to its negatives: about the least to be had.

    >>> from circlet import NormFaceLoss
    >>> f"{perfect_loss(NormFaceLoss(gamma=1.0), Counts(1, 1000)):.2f}"
    '5.91'
    """
    anchor, other = torch.eye(2).split(1)
    rows = torch.cat([anchor.expand(references.positives, 2), other.expand(references.negatives, 2)])
    return _loss(loss, anchor, rows, references.positives)


def _loss(loss: PairLoss, anchors: torch.Tensor, rows: torch.Tensor, positives: int) -> float:
    labels = (torch.arange(len(rows)) >= positives).long()
    with torch.no_grad():
        return float(loss(anchors, torch.zeros(len(anchors), dtype=torch.long), rows, labels))
