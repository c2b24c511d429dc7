"""The paper's claims, as identities between the losses."""

import math

import pytest
import torch

from circlet import functional as F
from circlet.rules import Circle
from tests.losses.cases import batch


@pytest.fixture
def class_level():
    embeddings, labels = batch()
    weights = torch.randn(7, embeddings.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return embeddings.requires_grad_(), labels, weights.requires_grad_()


def cosine_logits(embeddings, weights):
    return torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(weights).T


def assert_same(value, expected, leaves):
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for grad, expected_grad in zip(
        torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves, retain_graph=True), strict=True
    ):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-12)


def test_unified_with_one_positive_is_am_softmax(class_level):  # Eq. 2
    embeddings, labels, weights = class_level
    logits = 64.0 * (cosine_logits(embeddings, weights) - 0.35 * torch.nn.functional.one_hot(labels, 7).double())
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert_same(F.unified_loss(embeddings, labels, weights, margin=0.35, gamma=64.0), expected, [embeddings, weights])
    assert_same(F.am_softmax_loss(embeddings, labels, weights), expected, [embeddings, weights])


def test_no_margin_is_normface(class_level):
    embeddings, labels, weights = class_level
    expected = torch.nn.functional.cross_entropy(20.0 * cosine_logits(embeddings, weights), labels)
    assert_same(F.unified_loss(embeddings, labels, weights, margin=0.0, gamma=20.0), expected, [embeddings, weights])
    assert_same(F.normface_loss(embeddings, labels, weights, gamma=20.0), expected, [embeddings, weights])


def test_inner_product_is_softmax_cross_entropy(class_level):
    embeddings, labels, weights = class_level
    expected = torch.nn.functional.cross_entropy(embeddings @ weights.T, labels)
    assert_same(F.softmax_loss(embeddings, labels, weights), expected, [embeddings, weights])


def test_arcface_adds_the_margin_to_the_angle(class_level):
    embeddings, labels, weights = class_level
    angle = cosine_logits(embeddings, weights).acos() + 0.5 * torch.nn.functional.one_hot(labels, 7).double()
    assert angle.max() < math.pi
    expected = torch.nn.functional.cross_entropy(64.0 * angle.cos(), labels)
    assert_same(F.arcface_loss(embeddings, labels, weights), expected, [embeddings, weights])


def test_n_pair_with_two_samples_a_class_is_cross_entropy_among_partners():
    embeddings, labels = batch(per_class=2)
    s = embeddings @ embeddings.T
    expected = torch.stack(
        [
            torch.log(1 + sum((s[i, j] - s[i, i ^ 1]).exp() for j in range(len(s)) if j not in (i, i ^ 1)))
            for i in range(len(s))
        ]
    )
    torch.testing.assert_close(F.n_pair_loss(embeddings, labels, reduction="none"), expected)


def test_info_nce_of_two_views_is_nt_xent():
    embeddings, labels = batch(per_class=2)
    s = cosine_logits(embeddings, embeddings) / 0.1
    s.fill_diagonal_(-torch.inf)
    expected = torch.nn.functional.cross_entropy(s, torch.arange(len(s)) ^ 1)
    torch.testing.assert_close(F.info_nce_loss(embeddings, labels, temperature=0.1), expected)


def test_large_gamma_is_the_batch_hard_triplet_loss():  # Eq. 3
    embeddings, labels = batch(spread=2.0)
    hard = F.triplet_loss(embeddings, labels, margin=0.3, reduction="none")
    assert (hard > 0).any()
    for gamma, tolerance in [(1e3, 1e-2), (1e6, 1e-5)]:
        soft = F.unified_loss(embeddings, labels, margin=0.3, gamma=gamma, reduction="none") / gamma
        torch.testing.assert_close(soft, hard, atol=tolerance, rtol=0)


def test_lifted_structure_lies_between_triplet_and_unified():  # max <= log-sum-exp, relu <= softplus
    embeddings, labels = batch(spread=2.0)
    settings = {"margin": 0.3, "gamma": 40.0, "reduction": "none"}
    lifted = F.lifted_structure_loss(embeddings, labels, **settings)
    assert (F.triplet_loss(embeddings, labels, margin=0.3, reduction="none") * 40.0 <= lifted + 1e-12).all()
    assert (lifted <= F.unified_loss(embeddings, labels, **settings)).all()


def test_class_level_and_pairwise_are_one_code_path():
    """Class weights equal to another batch, one sample of each class, give the number of that batch as references."""
    embeddings, labels = batch()
    others = torch.randn(5, embeddings.shape[1], dtype=torch.float64)
    as_classes = F.circle_loss(embeddings, labels, others)
    as_batch = F.circle_loss(embeddings, labels, others, torch.arange(5))
    assert as_classes == as_batch


def test_the_batch_as_references_is_the_batch_without_the_own_row():
    embeddings, labels = batch()
    alone = F.circle_loss(embeddings, labels, reduction="none")
    for i in range(len(labels)):
        rest = torch.arange(len(labels)) != i
        one = F.circle_loss(embeddings[i : i + 1], labels[i : i + 1], embeddings[rest], labels[rest])
        torch.testing.assert_close(one, alone[i])


def test_decision_boundary_is_the_circle_of_eq_8():
    """A lone s_n and s_p on s_n^2 + (s_p - 1)^2 = 2 m^2 make both logits cancel: the loss is log 2."""
    for margin in (0.2, 0.325, 0.4):
        angle = torch.linspace(0.0, math.pi / 2, 50, dtype=torch.float64)
        s_n = math.sqrt(2) * margin * angle.cos()
        s_p = 1 - math.sqrt(2) * margin * angle.sin()
        rule = Circle(margin, gamma=64.0)
        total = rule.negative(s_n) + rule.positive(s_p)
        torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-12, rtol=0)
        outside = rule.negative(1.05 * s_n) + rule.positive(1 - 1.05 * (1 - s_p))
        assert (outside > 0).all()


def test_circle_of_margin_325_touches_the_line_of_am_softmax_of_margin_35():
    """The line s_p - s_n = .35 lies sqrt(2) * .325 from (0, 1), which is the circle's radius: they are tangent."""
    distance = (1 - 0.35) / math.sqrt(2)
    assert math.isclose(distance, math.sqrt(2) * 0.325)
    touch = torch.tensor(0.325, dtype=torch.float64)
    rule = Circle(0.325, gamma=1.0)
    assert abs(rule.negative(touch) + rule.positive(1 - touch)) < 1e-15
    assert math.isclose((1 - touch) - touch, 0.35)


def test_initial_losses_of_the_paper_settings():  # "a large loss at the start is normal"
    rule = Circle(0.25, 256.0)
    zero = torch.zeros((), dtype=torch.float64)
    assert abs(float(rule.negative(zero) + math.log(79_900) + rule.positive(zero)) - 235) < 1
