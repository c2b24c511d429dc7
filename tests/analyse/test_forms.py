"""The form behind each loss is the one its function uses."""

import pytest
import torch

from circlet import functional
from circlet.analyse.forms import decision, form_of, scales
from circlet.losses import PairLoss
from tests.analyse.family import FAMILY


@pytest.mark.parametrize("loss", FAMILY.values(), ids=FAMILY)
def test_form_gives_the_loss(loss):
    embeddings, labels = torch.randn(12, 5, dtype=torch.float64), torch.arange(12) % 4
    expected = loss(embeddings, labels)
    found = functional.pair_loss(embeddings, labels, None, None, None, "mean", form_of(loss))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_every_loss_function_has_a_form():
    names = {name for name in dir(functional) if name.endswith("_loss") and name != "pair_loss"}
    assert {loss.function.__name__ for loss in FAMILY.values()} == names


def test_another_family_is_refused():
    with pytest.raises(ValueError, match=r"loss: found PairLoss.*expected one made of circle_loss"):
        form_of(PairLoss(torch.nn.functional.mse_loss, "mean"))


@pytest.mark.parametrize("name", ["circle", "arcface", "am_softmax", "multi_similarity"])
def test_scales_are_the_slopes_of_a_plain_similarity(name):
    form = form_of(FAMILY[name])
    s = torch.tensor([0.0])
    slope = form.rule.negative_slope(s) / scales(form)[1]
    assert slope == pytest.approx(0.25 if name == "circle" else 1.0)


def test_boundaries_are_those_of_the_paper():
    angle = torch.linspace(torch.pi / 2, torch.pi, 9, dtype=torch.float64)
    m = 0.25
    s_n, s_p = 2**0.5 * m * angle.sin(), 1 + 2**0.5 * m * angle.cos()  # s_n^2 + (s_p - 1)^2 = 2 m^2 (Eq. 7 and 8)
    circle = form_of(FAMILY["circle"])
    torch.testing.assert_close(decision(circle, s_n, s_p), torch.zeros(9, dtype=torch.float64))
    assert (decision(circle, s_n[1:-1] - 0.01, s_p[1:-1]) < 0).all()
    line = form_of(FAMILY["am_softmax"])
    torch.testing.assert_close(decision(line, s_n, s_n + 0.35), torch.zeros(9, dtype=torch.float64))
    both = form_of(FAMILY["multi_similarity"])
    corners = decision(both, torch.tensor([0.4, 0.4, 0.6]), torch.tensor([0.6, 0.4, 0.6]))
    assert (corners < 0).tolist() == [True, False, False]
