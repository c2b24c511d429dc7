"""The plane by autograd against the paper's gradients (Eq. 9 and 10), and against differences where they hold."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import circlet
from circlet import Form, PairLoss, aggregate, rules
from circlet.analyse import decision_plane
from circlet.losses import all_losses
from circlet.losses.form import Softmax
from circlet.losses.statistics import Meeting, anchor_loss
from tests.analyse.family import FAMILY

INSIDE = st.floats(-0.99, 0.99)
OFF_KINKS = st.floats(-0.98, 0.98).map(lambda s: s + 1.2345e-3)  # where hinges begin are round numbers


@dataclass(frozen=True)
class Adaptive:
    """A margin by the anchor's length, and a scale by its least similar positive."""

    def for_rows(self, rows):
        return Widened(0.3 * rows.norms, 4.0 + 2.0 * rows.hardest_positive)


@dataclass(frozen=True)
class Widened(rules.Rule):
    """A constant margin with tensors for numbers."""

    margin: torch.Tensor
    gamma: torch.Tensor

    def positive(self, s):
        return -self.gamma * (s - self.margin)

    def negative(self, s):
        return self.gamma * s


def loss_of(form):
    return type("MadeLoss", (PairLoss,), {"form": lambda self: form})()


SIDES = aggregate.SeparateSoftplus(2.0, 8.0)
MADE = {
    "references_are_anchors": loss_of(Form(rules.TwoScales(2.0, 8.0, 0.1), SIDES, anchors="references")),
    "sides_by_themselves": loss_of(Form(rules.TwoScales(), SIDES, anchors="references", average="sides")),
    "best_of_a_class": loss_of(Form(rules.Circle(0.25, 8.0), within_class="max")),
    "mean_of_a_class": loss_of(Form(rules.ConstantMargin(0.1, 8.0), within_class=Softmax(0.1))),
    "rule_by_row": loss_of(Form(Adaptive())),
    "rule_by_reference": loss_of(Form(Adaptive(), anchors="references", average="either")),
    "all_pairs": loss_of(Form(rules.Circle(0.25, 8.0), aggregate.add, positives="each", contrast="all")),
    "active_pairs": loss_of(Form(rules.TwoScales(2.0, 8.0, 0.1), aggregate.Separate(), positives="mean_active",
                                 negatives="mean_active")),
    "easiest": loss_of(Form(rules.AngularMargin(0.3, 8.0), positives="softmin")),
}  # fmt: skip
EVERY = {**MADE, **{name: loss() for name, loss in all_losses().items()}}


@given(s_n=INSIDE, s_p=INSIDE, m=st.floats(0.05, 0.45), gamma=st.floats(1, 16))
def test_circle_has_the_gradients_of_the_paper(s_n, s_p, m, gamma):
    found = decision_plane.at_point(circlet.CircleLoss(margin=m, gamma=gamma), s_n, s_p)
    alpha_n, alpha_p = max(s_n + m, 0), 1 + m - s_p
    z = gamma * alpha_n * (s_n - m) - gamma * alpha_p * (s_p - 1 + m)
    assert found.loss == pytest.approx(math.log1p(math.exp(z)) if z < 500 else z, rel=1e-9, abs=1e-12)
    z_factor = 1 - math.exp(-found.loss)
    # One positive and one negative: both softmaxes are 1.
    assert found.gradient_n == pytest.approx(z_factor * gamma * alpha_n, rel=1e-6, abs=1e-9)
    assert found.gradient_p == pytest.approx(-z_factor * gamma * alpha_p, rel=1e-6, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILY.keys() - {"circle"}))
@given(s_n=INSIDE, s_p=INSIDE)
def test_other_losses_have_the_derivative_of_their_value(name, s_n, s_p):
    loss, h = FAMILY[name], 1e-6
    found = decision_plane.at_point(loss, s_n, s_p)
    kink = {"lifted_structure": 0.5, "triplet": 0.3}.get(name)
    bend = math.cos(math.pi - 0.5) if name == "arcface" else 2.0
    if (kink is not None and abs(s_n - s_p + kink) < 1e-5) or abs(s_p - bend) < 1e-5:
        return

    def value(n, p):
        return decision_plane.at_point(loss, n, p).loss

    assert found.gradient_n == pytest.approx((value(s_n + h, s_p) - value(s_n - h, s_p)) / (2 * h), abs=1e-4)
    assert found.gradient_p == pytest.approx((value(s_n, s_p + h) - value(s_n, s_p - h)) / (2 * h), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
@given(s_n=OFF_KINKS, s_p=OFF_KINKS)
def test_every_form_has_the_values_of_its_definition(name, s_n, s_p):
    """Those of `statistics.anchor_loss`, for one anchor and two similarities that are given to it."""
    assume(abs(s_n - s_p) > 1e-6)  # which is the larger is then a matter of rounding
    loss = EVERY[name]
    s = torch.tensor([[s_p, s_n]], dtype=torch.float64, requires_grad=True)
    positive = torch.tensor([[True, False]])
    meeting = Meeting(s, positive, ~positive, torch.ones(1, 1, dtype=torch.float64), torch.tensor([0, 1]))
    expected = anchor_loss(loss.form(), meeting).loss
    (gradient,) = torch.autograd.grad(expected.sum(), s)
    found = decision_plane.at_point(loss, s_n, s_p)
    assert found.loss == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)
    if found.loss > 1e-9:  # not at the kink of a hinge
        assert [found.gradient_p, found.gradient_n] == pytest.approx(gradient[0].tolist(), rel=1e-5, abs=1e-5)


def test_a_plane_does_not_move_the_state_of_a_loss():
    loss = circlet.AdaFaceLoss()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    decision_plane.plane(loss, np.array([0.1, 0.2]), np.array([0.3]))
    assert before == loss.state_dict()
    assert loss.training


@pytest.mark.parametrize("name", EVERY)
def test_every_form_has_a_plane(name):
    s_n, s_p = np.array([-0.5, 0.1, 0.9]), np.array([0.3, 0.7])
    found = decision_plane.plane(EVERY[name], s_n, s_p)
    assert all(np.isfinite(values).all() for values in found)
    assert {values.shape for values in found[2:]} == {(2, 3)}


def test_the_boundary_of_a_rule_by_row_is_that_of_the_pair():
    found = decision_plane.decisions(Form(Adaptive()), np.array([-0.2, 0.6]), np.array([0.0, 0.8]))
    gamma = 4.0 + 2.0 * np.array([[0.0], [0.8]])
    np.testing.assert_allclose(found, gamma * (np.array([[-0.2, 0.6]]) - np.array([[0.0], [0.8]]) + 0.3), atol=1e-12)


@given(cosines=st.lists(INSIDE, min_size=1, max_size=5))
def test_vectors_have_the_cosines_asked_for(cosines):
    cosines = torch.tensor(cosines, dtype=torch.float64)
    anchor, references = decision_plane.vectors(cosines)
    torch.testing.assert_close((references @ anchor.T).squeeze(1), cosines)
    torch.testing.assert_close(references.norm(dim=1), torch.ones_like(cosines))


def test_plane_is_its_points_in_rows_of_s_p():
    s_n, s_p = np.array([-0.5, 0.1, 1.0]), np.array([0.3, 0.9])
    found = decision_plane.plane(FAMILY["circle"], s_n, s_p)
    assert found.loss.shape == found.decision.shape == (2, 3)
    point = decision_plane.at_point(FAMILY["circle"], 0.1, 0.9)
    assert (found.loss[1, 1], found.gradient_n[1, 1], found.gradient_p[1, 1]) == point
    # Past the boundary, and only there, is the loss of one pair below log 2.
    np.testing.assert_array_equal(found.decision < 0, found.loss < math.log(2))
    assert np.isfinite(found.gradient_n).all()


def test_what_the_surfaces_of_figure_2_show():
    """Constant margins push both similarities alike, Circle the one that is further from its optimum."""
    for name in ("am_softmax", "triplet"):
        at_a = decision_plane.at_point(FAMILY[name], 0.8, 0.8)
        assert at_a.gradient_n == pytest.approx(-at_a.gradient_p)
    at_a = decision_plane.at_point(FAMILY["circle"], 0.8, 0.8)
    assert at_a.gradient_n / -at_a.gradient_p == pytest.approx(1.05 / 0.45)


@pytest.mark.parametrize(("s_n", "s_p", "named"), [(1.5, 0, "s_n: found 1.5"), (0, -2, "s_p: found -2")])
def test_only_cosines(s_n, s_p, named):
    with pytest.raises(ValueError, match=named):
        decision_plane.at_point(FAMILY["circle"], s_n, s_p)
