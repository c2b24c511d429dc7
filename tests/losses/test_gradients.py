"""Gradients of Circle loss against the paper's Eq. 9 and 10, and of every rule against its own slope."""

import pytest
import torch

from circlet import functional as F
from circlet.rules import AngularMargin, Circle, ConstantMargin, TwoScales
from tests.losses.cases import batch


@pytest.mark.parametrize(("margin", "gamma"), [(0.25, 256.0), (0.4, 80.0), (0.1, 16.0)])
def test_gradients_are_eq_9_and_10(margin, gamma):
    generator = torch.Generator().manual_seed(0)
    # With unit references along the axes the similarities are the coordinates of the anchor: inner products.
    s = torch.rand(6, 9, generator=generator, dtype=torch.float64) * 0.6
    s.requires_grad_()
    labels = torch.zeros(6, dtype=torch.int64)
    reference_labels = (torch.arange(9) >= 3).long()  # three positives, six negatives
    form = F.Form(Circle(margin, gamma), normalize=False)
    axes = torch.eye(9, dtype=torch.float64)
    losses = F.pair_loss(s, labels, axes, reference_labels, None, "none", form)
    (grad,) = torch.autograd.grad(losses.sum(), s)
    s_p, s_n = s.detach()[:, :3], s.detach()[:, 3:]
    # The paper's exponents gamma((s_n)^2 - m^2) and gamma((s_p - 1)^2 - m^2) are the logits written out.
    negative = gamma * (s_n**2 - margin**2)
    positive = gamma * ((s_p - 1) ** 2 - margin**2)
    z = torch.sigmoid(negative.logsumexp(1) + positive.logsumexp(1))[:, None]
    torch.testing.assert_close(z[:, 0], 1 - (-losses).exp(), rtol=1e-12, atol=1e-12)
    expected = torch.cat(
        [
            z * positive.softmax(1) * gamma * (s_p - 1 - margin),
            z * negative.softmax(1) * gamma * (s_n + margin),
        ],
        dim=1,
    )
    torch.testing.assert_close(grad, expected, rtol=1e-12, atol=1e-12)


def test_a_negative_beyond_its_optimum_has_no_gradient_but_still_counts():
    form = F.Form(Circle(0.25, 64.0), normalize=False)
    s = torch.tensor([[0.5, 0.3, -0.6]], dtype=torch.float64, requires_grad=True)
    reference_labels = torch.tensor([0, 1, 1])
    axes = torch.eye(3, dtype=torch.float64)
    loss = F.pair_loss(s, torch.tensor([0]), axes, reference_labels, None, "sum", form)
    (grad,) = torch.autograd.grad(loss, s)
    assert grad[0, 2] == 0
    rule = Circle(0.25, 64.0)
    expected = torch.log(1 + (rule.negative(s[0, 1]).exp() + 1.0) * rule.positive(s[0, 0]).exp())
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    "rule", [Circle(), Circle(0.4, 80.0), ConstantMargin(), AngularMargin(), AngularMargin(1.2), TwoScales()]
)
@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_slope_is_what_autograd_sees(rule, kind):
    s = torch.linspace(-0.999, 0.999, 401, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(getattr(rule, kind)(s).sum(), s)
    torch.testing.assert_close(getattr(rule, f"{kind}_slope")(s.detach()), grad, rtol=1e-12, atol=1e-12)


def test_arcface_is_finite_at_the_poles():
    s = torch.tensor([-1.0, 1.0], requires_grad=True)
    (grad,) = torch.autograd.grad(AngularMargin().positive(s).sum(), s)
    assert grad.isfinite().all()
    torch.testing.assert_close(AngularMargin().positive_slope(s.detach()), grad)


def test_gradient_matches_finite_differences_with_frozen_weights():
    """gradcheck on detached weights fails by design; with a rule that does not detach it must pass."""
    embeddings, labels = batch(num_classes=3, per_class=2, dim=4)
    embeddings.requires_grad_()
    for function in (F.unified_loss, F.multi_similarity_loss, F.arcface_loss, F.lifted_structure_loss):
        assert torch.autograd.gradcheck(lambda e, f=function: f(e, labels), embeddings)
