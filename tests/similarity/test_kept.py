"""What the forward pass leaves to the backward pass: similarities, and blocks that are finished but for a factor."""

import pytest
import torch

from circlet.rules import AngularMargin, Circle, ConstantMargin
from circlet.similarity import blocks, cross, symmetric
from circlet.similarity.blocks import Tiling
from circlet.similarity.pairs import Pairs
from tests.similarity.cases import arriving, assert_same, dense_lse, relative_error, run, tiled
from tests.similarity.test_tiles import Cubic

KEEPING = Tiling(height=16, width=32, keep_bytes=2**20)
CIRCLE = Circle(0.25, 32.0)
ALL = [CIRCLE, ConstantMargin(), AngularMargin(), Cubic()]
FORMS = ["pair", "class"]


def many_classes(form, dtype=torch.float64):
    """Rows that meet mostly negatives."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(number, 12, generator=generator, dtype=torch.float64).to(dtype) for number in (90, 200))
    labels = torch.arange(90) // 3
    if form == "pair":
        return [x], lambda x: Pairs(x, None, labels, None)
    return [x, y], lambda x, y: Pairs(x, y, labels * 6, torch.arange(200))


@pytest.fixture
def finished(monkeypatch):
    """The blocks that were finished so far."""
    made = []
    for module in (cross, symmetric):
        new = module.new_kept
        monkeypatch.setattr(module, "new_kept", lambda *given, new=new: made.append(new(*given)) or made[-1])
    return lambda: sum(len(kept.finished) for kept in made)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", ALL, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finished_blocks_give_the_gradient(rule, form, dtype, finished):
    leaves, make = many_classes(form, dtype)
    exact = run(dense_lse, *many_classes(form), rule, grads=arriving(90, dtype).double())
    found = run(tiled, leaves, make, rule, grads=arriving(90, dtype), tiling=KEEPING)
    assert finished() >= 4
    for value, reference in zip(found[1], exact[1], strict=True):
        assert relative_error(value, reference) < (2e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_sums_that_would_leave_no_factor_stay_similarities(form, finished, monkeypatch):
    leaves, make = many_classes(form)
    monkeypatch.setattr(blocks, "FINISHED", 0.0)
    found = run(tiled, leaves, make, CIRCLE, tiling=KEEPING)
    assert finished() == 0
    assert_same(found, run(dense_lse, leaves, make, CIRCLE))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1e-14, 1e-10, 1e10])
def test_a_gradient_of_any_size(form, scale):
    leaves, make = many_classes(form, torch.float32)
    exact = run(dense_lse, *many_classes(form), CIRCLE, grads=arriving(90, torch.float64))
    found = run(tiled, leaves, make, CIRCLE, grads=arriving(90, torch.float32) * scale, tiling=KEEPING)
    for value, reference in zip(found[1], exact[1], strict=True):
        assert relative_error(value.double() / scale, reference) < 2e-5


@pytest.mark.parametrize("form", FORMS)
def test_a_second_backward_pass_computes_them_anew(form, finished):
    leaves, make = many_classes(form)
    x = leaves[0].requires_grad_()
    lse = tiled(make(*leaves), CIRCLE, tiling=KEEPING)
    (first,) = torch.autograd.grad(lse.neg.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(lse.neg.sum(), x)
    assert finished()
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)
