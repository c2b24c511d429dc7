"""Scales and decision boundaries of the losses."""

import pytest
import torch

import circlet
from circlet.analyse.boundary import decision
from tests.analyse.family import FAMILY


@pytest.mark.parametrize("name", ["circle", "arcface", "am_softmax", "multi_similarity"])
def test_scales_are_the_slopes_of_a_plain_similarity(name):
    form = FAMILY[name].form()
    s = torch.tensor([0.0])
    slope = form.rule.negative_slope(s) / form.rule.scales[1]
    assert slope == pytest.approx(0.25 if name == "circle" else 1.0)


def test_boundaries_are_those_of_the_paper():
    angle = torch.linspace(torch.pi / 2, torch.pi, 9, dtype=torch.float64)
    m = 0.25
    s_n, s_p = 2**0.5 * m * angle.sin(), 1 + 2**0.5 * m * angle.cos()  # s_n^2 + (s_p - 1)^2 = 2 m^2 (Eq. 7 and 8)
    circle = FAMILY["circle"].form()
    torch.testing.assert_close(decision(circle, s_n, s_p), torch.zeros(9, dtype=torch.float64))
    assert (decision(circle, s_n[1:-1] - 0.01, s_p[1:-1]) < 0).all()
    line = FAMILY["am_softmax"].form()
    torch.testing.assert_close(decision(line, s_n, s_n + 0.35), torch.zeros(9, dtype=torch.float64))
    hinges = decision(circlet.ContrastiveLoss(positive_margin=0.9, negative_margin=0.5).form(),
                      torch.tensor([0.5, 0.6, 0.4]), torch.tensor([0.95, 0.95, 0.8]))  # fmt: skip
    assert (hinges <= 0).tolist() == [True, False, False]
    both = FAMILY["multi_similarity"].form()
    corners = decision(both, torch.tensor([0.4, 0.4, 0.6]), torch.tensor([0.6, 0.4, 0.6]))
    assert (corners < 0).tolist() == [True, False, False]
