"""Losses at chance and at perfection: against the formulas, and against losses of real batches."""

import math

import pytest
import torch

from circlet import AMSoftmaxLoss, CircleLoss, MultiSimilarityLoss, NormFaceLoss, TripletLoss
from circlet.advise.extremes import Counts, chance_loss, counts, perfect_loss
from circlet.experiments import Experiment, LossConfig
from circlet.experiments.experiment import BatchConfig
from circlet.recipes import RECIPES

HUGE = 50_000  # a dimension in which random similarities are 0


@pytest.mark.parametrize(("margin", "gamma", "references"), [(0.4, 80.0, Counts(4, 75)), (0.25, 256.0, Counts(1, 199))])
def test_circle_at_chance_is_the_formula(margin, gamma, references):
    expected = math.log(math.prod(references)) + gamma * (1 - 2 * margin**2)
    assert chance_loss(CircleLoss(margin=margin, gamma=gamma), references, HUGE) == pytest.approx(expected, rel=0.02)


def test_am_softmax_at_chance_is_the_formula():
    assert chance_loss(AMSoftmaxLoss(margin=0.35, gamma=64.0), Counts(1, 199), HUGE) == pytest.approx(
        64 * 0.35 + math.log(199), rel=0.02
    )


def test_large_gamma_sees_the_largest_of_random_similarities():
    small, large = (chance_loss(NormFaceLoss(gamma=1024.0), Counts(1, 199), dim) for dim in (HUGE, 64))
    assert small < 30
    assert large > 300


@pytest.mark.parametrize("loss", [CircleLoss(margin=0.4, gamma=80.0), TripletLoss(margin=0.3), MultiSimilarityLoss()])
def test_chance_is_the_loss_of_a_random_batch(loss):
    generator = torch.Generator().manual_seed(1)
    embeddings, labels = torch.randn(96, 64, generator=generator), torch.arange(24).repeat_interleave(4)
    found = chance_loss(loss, counts(Experiment(batch=BatchConfig(classes=24, samples=4)), None), 64)
    assert found == pytest.approx(float(loss(embeddings, labels)), rel=0.1)


@pytest.mark.parametrize(
    "loss",
    [CircleLoss(margin=0.4, gamma=2.0), TripletLoss(margin=-0.2), NormFaceLoss(gamma=8.0), MultiSimilarityLoss()],
)
def test_perfect_is_the_loss_of_perfect_embeddings(loss):
    embeddings, labels = torch.eye(24).repeat_interleave(4, dim=0), torch.arange(24).repeat_interleave(4)
    assert perfect_loss(loss, Counts(3, 92)) == pytest.approx(float(loss(embeddings, labels)), abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (LossConfig(), Counts(3, 252)),
        (LossConfig(memory=100), Counts(3, 352)),
        (LossConfig(level="class"), Counts(1, 99)),
        (LossConfig(level="class", sample=0.1), Counts(1, 10)),
        (LossConfig(level="joint"), Counts(4, 99 + 252)),
    ],
)
def test_counts_of_references(loss, expected):
    assert counts(Experiment(loss=loss), 100) == expected
    assert (counts(Experiment(loss=loss), None) is None) == (loss.level != "pair")


def test_turned_images_are_more_classes():
    base = RECIPES["glyphs"]()
    assert counts(base, 2) == Counts(3, 15 * 4)  # 16 classes to draw from, fewer than the 64 of a batch
