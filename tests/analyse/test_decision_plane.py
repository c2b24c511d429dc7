"""The plane by autograd against the paper's gradients (Eq. 9 and 10), and against differences where they hold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import circlet
from circlet.analyse import decision_plane
from tests.analyse.family import FAMILY

INSIDE = st.floats(-0.99, 0.99)


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
