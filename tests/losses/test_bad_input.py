"""Bad input is a ValueError that names the argument, what was found and what was expected."""

import pytest
import torch
from torch import nn

import circlet

E, L = torch.randn(4, 8), torch.tensor([0, 0, 1, 1])
LOSS = circlet.CircleLoss()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((E, L.float()), r"labels: found torch.float32, expected integers"),
        ((E, L.bool()), r"labels: found torch.bool, expected integers"),
        ((E, [0, 0, 1, 1]), r"labels: found list, expected a tensor"),
        ((E, L[:3]), r"labels: found shape \(3,\), expected \(4,\)"),
        ((E, L[:, None]), r"labels: found shape \(4, 1\), expected \(4,\)"),
        ((E[0], L), r"embeddings: found shape \(8,\), expected \(rows, dim\)"),
        ((E.long(), L), r"embeddings: found torch.int64, expected a floating-point"),
        ((E.numpy(), L), r"embeddings: found ndarray, expected a tensor"),
        ((E,), r"labels, positive_mask: found neither"),
        ((E, L, torch.randn(1, 8)), r"labels: found class id 1, expected 0 to 0"),
        ((E, L - 1, torch.randn(3, 8)), r"labels: found class id -1, expected 0 to 2"),
        ((E, L, torch.randn(3, 7)), r"references: found 7 columns, expected 8"),
        ((E, L, torch.randn(3, 8), L), r"reference_labels: found shape \(4,\), expected \(3,\)"),
        ((E, L, torch.randn(3, 8, device="meta"), L[:3]), r"references: found on meta, expected on cpu as embeddings"),
        ((E, L, None, L), r"reference_labels: found without references"),
        ((E, L, nn.Linear(8, 3)), r"references: found Linear, expected a tensor"),
        ((E, L, []), r"references: found an empty list"),
        ((E, L, [E, None], L), r"reference_labels: found with a list of sources"),
        ((E, L, (E, L), L), r"reference_labels: found with a source that has labels"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LOSS(*arguments)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite(bad):
    embeddings = E.clone()
    embeddings[2, 3] = bad
    with pytest.raises(ValueError, match=r"embeddings: found NaN or infinity in 1 of 4 rows \(first: row 2\)"):
        LOSS(embeddings, L)
    with pytest.raises(ValueError, match=r"references: found NaN or infinity in 1 of 4 rows"):
        LOSS(E, L, embeddings, L)


@pytest.mark.parametrize("mask", [torch.ones(4, 4), torch.ones(4, 3, dtype=torch.bool)])
def test_positive_mask(mask):
    with pytest.raises(ValueError, match=r"positive_mask: found .*, expected torch.bool \(4, 4\)"):
        LOSS(E, positive_mask=mask)
    with pytest.raises(ValueError, match="found both"):
        LOSS(E, L, positive_mask=mask)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: circlet.CircleLoss(gamma=0.0)(E, L), "gamma: found 0.0, expected a finite number > 0"),
        (
            lambda: circlet.ArcFaceLoss(margin=28.6)(E, L),
            r"ArcFaceLoss: margin: found 28.6, expected .* from 0 to 3.14159 \(radians\)",
        ),
        (lambda: circlet.InfoNCELoss(temperature=-1.0)(E, L), "temperature: found -1.0, expected a finite number > 0"),
        (lambda: circlet.MultiSimilarityLoss(beta=-1.0)(E, L), "beta: found -1.0"),
        (lambda: circlet.CircleLoss(margin=float("nan")), "CircleLoss: margin: found nan, expected a finite number"),
        (lambda: circlet.UnifiedLoss(gamma=float("inf")), "UnifiedLoss: gamma: found inf"),
        (lambda: circlet.functional.circle_loss(E, L, margin="0.2"), "CircleLoss: margin: found '0.2'"),
        (lambda: circlet.CircleLoss(gamma=True), "CircleLoss: gamma: found True"),
        (lambda: circlet.CircleLoss(reduction="avg")(E, L), "reduction: found 'avg', expected 'mean'"),
        (lambda: circlet.ClassWeights(0, 8), "num_classes: found 0, expected at least 1"),
    ],
)
def test_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_hyper_parameters_go_by_name():
    with pytest.raises(TypeError, match=r"found 1 values without a name.*such as CircleLoss\(margin=80.0\)"):
        circlet.CircleLoss(80.0)
    with pytest.raises(TypeError, match=r"CircleLoss: found temperature, expected margin, gamma"):
        circlet.CircleLoss(temperature=0.1)
    with pytest.raises(TypeError, match=r"SoftmaxLoss: found gamma, expected no settings"):
        circlet.functional.softmax_loss(E, L, gamma=1.0)
