"""The whole form gives what the dense twin gives, forward and backward: the same cases as the tiles."""

import pytest
import torch

from circlet import functional
from circlet.rules import Circle, ConstantMargin
from circlet.similarity.pairs import Pairs, Rule
from tests.similarity.cases import FORMS, RULES, SIZES, assert_same, dense_lse, operands, run, whole_lse

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
