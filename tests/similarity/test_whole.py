"""The whole form gives what the dense twin gives, forward and backward: the same cases as the tiles."""

import pytest
import torch

from circlet import aggregate, functional
from circlet.rules import Circle, ConstantMargin
from circlet.similarity import whole
from circlet.similarity.native import USE_NATIVE
from circlet.similarity.pairs import Pairs, Rule
from tests.similarity.cases import FORMS, RULES, SIZES, assert_same, dense_lse, operands, relative_error, run, whole_lse

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
every_form = pytest.mark.parametrize("form", FORMS)


@every_rule
@every_form
def test_equals_dense_in_fp64(rule, form):
    for batch in SIZES:
        case = operands(form, batch, seed=batch)
        assert_same(run(whole_lse, *case, rule), run(dense_lse, *case, rule))


@every_form
@pytest.mark.parametrize("rule", [ConstantMargin(0.1, 1.0), Circle(0.25, 2.0)], ids=["constant", "circle"])
def test_inner_product(form, rule):
    case = operands(form, 17)
    assert_same(run(whole_lse, *case, rule, normalize=False), run(dense_lse, *case, rule, normalize=False))


@every_form
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_in_and_out_computed_in_fp32(form, dtype):
    leaves, make = operands(form, 17, dtype=dtype)
    found = run(whole_lse, leaves, make, Circle())
    assert found[0][0].dtype == torch.float32
    assert found[1][0].dtype == dtype
    assert_same(found, run(dense_lse, leaves, make, Circle()), rtol=2 * torch.finfo(dtype).eps)


@every_form
@every_rule
def test_zero_rows_and_duplicates(form, rule):
    leaves, make = operands(form, 23)
    for leaf in leaves:
        leaf[3] = 0
        leaf[5:9] = leaf[4]
    found = run(whole_lse, leaves, make, rule)
    assert_same(found, run(dense_lse, leaves, make, rule))
    assert all((grad[3] == 0).all() for grad in found[1])


class Loose(Rule):
    """Logits of another layout and dtype, and slopes of another shape, than the similarities have."""

    def positive(self, s):
        return (-3.0 * s).T.contiguous().T

    def negative(self, s):
        return (3.0 * s).double()

    def positive_slope(self, s):
        return torch.tensor(-3.0)

    def negative_slope(self, s):
        return torch.full((1, 1), 3.0).expand(s.shape)


@every_form
def test_what_a_rule_may_give(form):
    leaves, make = operands(form, 37, dtype=torch.float32)
    expected = run(dense_lse, [leaf.double() for leaf in leaves], make, Loose())
    found = run(whole_lse, leaves, make, Loose())
    assert_same([[value.double() for value in part] for part in found], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "labels", [torch.zeros(9, dtype=torch.int64), torch.arange(9)], ids=["one class", "singletons"]
)
def test_an_empty_side_is_minus_infinity_without_gradient(labels):
    leaves, _ = operands("pair", 9)
    case = (leaves, lambda x: Pairs(x, None, labels, None))
    found = run(whole_lse, *case, Circle())
    assert (torch.stack(found[0]) == -torch.inf).all(1).sum() == 1
    assert_same(found, run(dense_lse, *case, Circle()))


@pytest.mark.parametrize("form", ["class", "cross", "mask"])
@pytest.mark.parametrize("which", [0, 1])
def test_gradient_of_one_operand(form, which):
    leaves, make = operands(form, 17)
    leaves[which].requires_grad_()
    assert_same(run(whole_lse, leaves, make, Circle()), run(dense_lse, leaves, make, Circle()))


def test_autocast_changes_nothing():
    leaves, make = operands("class", 17, dtype=torch.float32)
    expected = run(whole_lse, leaves, make, Circle())
    with torch.autocast("cpu", torch.bfloat16):
        found = run(whole_lse, leaves, make, Circle())
    for value, reference in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        assert torch.equal(value, reference)


def test_double_backward_is_refused():
    x = torch.randn(8, 4, requires_grad=True)
    for function in (functional.circle_loss, functional.lifted_structure_loss):  # the hinge's slope is a constant
        loss = function(x, torch.arange(8) // 2)
        (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        with pytest.raises(RuntimeError, match="double backward"):
            (loss + grad.square().sum()).backward()


def mean_and_gradients(function, leaves, make, rule):
    """A loss, and the gradients of three times it."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    loss = function(make(*leaves), rule)
    return [loss.detach(), *torch.autograd.grad(3.0 * loss, leaves)]


def by_definition(pairs, rule):
    lse = dense_lse(pairs, rule)
    return aggregate.reduce(aggregate.softplus(*lse), lse.valid, "mean")


def at_once(pairs, rule):
    return whole.mean_softplus(pairs, rule, normalize=True)


@every_rule
@every_form
def test_mean_equals_its_definition(rule, form):
    for batch in SIZES:
        case = operands(form, batch, seed=batch)
        for found, expected in zip(
            mean_and_gradients(at_once, *case, rule), mean_and_gradients(by_definition, *case, rule), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@every_rule
@every_form
@pytest.mark.parametrize("native", [True, False])
def test_mean_in_fp32(rule, form, native, monkeypatch):
    monkeypatch.setattr("circlet.similarity.native.USE_NATIVE", native and USE_NATIVE)
    leaves, make = operands(form, 37)
    expected = mean_and_gradients(by_definition, leaves, make, rule)
    found = mean_and_gradients(at_once, [leaf.float() for leaf in leaves], make, rule)
    assert found[0].dtype == torch.float32
    for mine, exact in zip(found, expected, strict=True):
        assert relative_error(mine, exact) < 2e-5  # a rounded similarity, times gamma = 256


@pytest.mark.parametrize(
    "labels", [torch.zeros(9, dtype=torch.int64), torch.arange(9)], ids=["one class", "singletons"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mean_without_a_valid_anchor_is_0_with_gradient_0(labels, dtype):
    leaves, _ = operands("pair", 9, dtype=dtype)
    loss, grad = mean_and_gradients(at_once, leaves, lambda x: Pairs(x, None, labels, None), Circle())
    assert loss == 0
    assert (grad == 0).all()


def test_mean_is_taken_where_it_is_meant_to_be(monkeypatch):
    """A loss of a small batch goes at once; a list of two sources, a sum and the maximum do not."""
    taken = []
    monkeypatch.setattr(whole, "mean_softplus", lambda *_, **__: taken.append(True) or torch.zeros(()))
    x, labels = torch.randn(8, 4), torch.arange(8) // 2
    weights = torch.randn(4, 4)
    for loss in (functional.circle_loss, functional.unified_loss, functional.normface_loss):
        loss(x, labels)
        loss(x, labels, weights)
        loss(x, labels, [weights])
    assert len(taken) == 9
    functional.circle_loss(x, labels, reduction="sum")
    functional.circle_loss(x, labels, [None, weights])
    functional.triplet_loss(x, labels)
    functional.multi_similarity_loss(x, labels)
    functional.circle_loss(torch.randn(800, 4), torch.arange(800) // 2)
    assert len(taken) == 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["pair", "mask"])
def test_labels_changed_between_forward_and_backward_do_not_change_the_gradient_silently(form, dtype):
    leaves, make = operands(form, 17, dtype=dtype)
    for backend in (at_once, lambda pairs, rule: whole_lse(pairs, rule).neg.sum()):
        x = leaves[0].clone().requires_grad_()
        pairs = make(x, *leaves[1:])
        expected = torch.autograd.grad(backend(pairs, Circle()), x)[0]
        loss = backend(pairs, Circle())
        what = pairs.labels if pairs.positive_mask is None else pairs.positive_mask
        what.zero_()
        try:
            found = torch.autograd.grad(loss, x)[0]
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)  # noqa: PT017
        else:
            assert torch.equal(found, expected)
        leaves, make = operands(form, 17, dtype=dtype)
