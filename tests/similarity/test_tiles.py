"""Every form of the tiled backend gives what the dense twin gives, forward and backward, at any size."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet import similarity
from circlet.rules import Circle, ConstantMargin
from circlet.similarity import positives
from circlet.similarity.blocks import Tiling
from circlet.similarity.pairs import Pairs, Rule
from circlet.similarity.spec import rule_of, spec_of
from tests.similarity.cases import FORMS, RULES, SIZES, assert_same, dense_lse, operands, relative_error, run, tiled

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
every_form = pytest.mark.parametrize("form", FORMS)
both = pytest.mark.parametrize("statistic", ["logsumexp", "max"])


@pytest.fixture(params=[positives.FEW, 3, 0], ids=["holes", "holes_to_3", "masks"])
def few(request, monkeypatch):
    """Where few positives are taken out of a tile one by one, and where it has masks."""
    monkeypatch.setattr(positives, "FEW", request.param)


@every_rule
@every_form
@both
def test_equals_dense_in_fp64(rule, form, statistic, few):
    for batch in SIZES:
        case = operands(form, batch, seed=batch)
        assert_same(run(tiled, *case, rule, statistic=statistic), run(dense_lse, *case, rule, statistic=statistic))


@every_rule
@pytest.mark.parametrize("form", ["class", "cross", "mask"])
@pytest.mark.parametrize("unusual", [None, 0.0, 1e-30, 1e25], ids=lambda found: f"unusual_{found}")
@pytest.mark.parametrize("keep_bytes", [0, 1600, 10**6])
def test_references_of_any_length(rule, form, unusual, keep_bytes):
    """They are multiplied as they are, but for tiles that have one of an unusual length."""
    leaves, make = operands(form, 17)
    lengths = torch.logspace(-9, 15, len(leaves[1]), dtype=torch.float64)[:, None]
    if unusual is not None:
        lengths[20] = unusual
    leaves[1] = leaves[1] * lengths
    leaves = [leaf.float() for leaf in leaves]
    found = run(partial(tiled, tiling=Tiling(8, 16, keep_bytes)), leaves, make, rule)
    exact = run(dense_lse, [leaf.double() for leaf in leaves], make, rule)
    for value, reference in zip(found[0], exact[0], strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-3)
    for value, reference, leaf in zip(found[1], exact[1], leaves, strict=True):
        # In units of the row: the gradient of a short one is long.
        units = leaf.double().norm(dim=1, keepdim=True)
        usual = (units > 1e-20) & (units < 1e20)  # of others it overflows or vanishes
        assert relative_error(value * units * usual, reference * units * usual) < 1e-5


@every_form
@both
@pytest.mark.parametrize("rule", [ConstantMargin(0.1, 1.0), Circle(0.25, 2.0)], ids=["constant", "circle"])
def test_inner_product(form, statistic, rule):
    case = operands(form, 17)
    expected = run(dense_lse, *case, rule, statistic=statistic, normalize=False)
    assert_same(run(tiled, *case, rule, statistic=statistic, normalize=False), expected)


@every_rule
@every_form
@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(rule, form, statistic, dtype):
    leaves, make = operands(form, 17, dtype=dtype)
    found = run(tiled, leaves, make, rule, statistic=statistic)
    assert found[0][0].dtype == torch.float32
    assert found[1][0].dtype == dtype
    exact = run(dense_lse, [leaf.double() for leaf in leaves], make, rule, statistic=statistic)
    rounding = torch.finfo(dtype).eps
    for value, reference in zip(found[0], exact[0], strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-3)
    for value, reference in zip(found[1], exact[1], strict=True):
        scale = float(reference.abs().max())
        torch.testing.assert_close(value.double(), reference, rtol=0, atol=scale * max(2 * rounding, 1e-3))


@pytest.mark.parametrize("dtypes", [(torch.float16, torch.float32), (torch.float32, torch.float64)])
def test_operands_of_two_dtypes(dtypes):
    leaves, make = operands("cross", 17)
    leaves = [leaf.to(dtype) for leaf, dtype in zip(leaves, dtypes, strict=True)]
    assert_same(run(tiled, leaves, make, Circle()), run(dense_lse, leaves, make, Circle()), rtol=2e-3)


LABELS = {
    "one class": lambda n: torch.zeros(n, dtype=torch.int64),
    "all singletons": lambda n: torch.arange(n).flip(0),
    "giant class and singletons": lambda n: torch.where(torch.arange(n) % 7 == 3, torch.arange(n), -1),
    "classes over several tiles": lambda n: torch.arange(n) // 20 % 2,
    "unsorted, negative": lambda n: (torch.arange(n) * 7) % 5 - 2,
    "int32": lambda n: (torch.arange(n) % 4).int(),
}


@pytest.mark.parametrize("make_labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("form", ["pair", "cross"])
@both
def test_labels(make_labels, form, statistic, few):
    leaves, _ = operands("cross", 41)
    labels, reference_labels = make_labels(41), make_labels(len(leaves[1])).flip(0)
    case = (leaves[:1], lambda x: Pairs(x, None, labels, None))
    if form == "cross":
        case = (leaves, lambda x, y: Pairs(x, y, labels, reference_labels))
    assert_same(run(tiled, *case, Circle(), statistic=statistic), run(dense_lse, *case, Circle(), statistic=statistic))


@every_form
@every_rule
def test_zero_rows_and_duplicates(form, rule, few):
    leaves, make = operands(form, 23)
    for leaf in leaves:
        leaf[3] = 0
        leaf[5:9] = leaf[4]
    found = run(tiled, leaves, make, rule)
    assert_same(found, run(dense_lse, leaves, make, rule))
    assert all((grad[3] == 0).all() for grad in found[1])


@every_form
def test_non_contiguous_operands(form):
    leaves, make = operands(form, 17)
    leaves = [torch.cat([leaf, leaf]).T.contiguous().T[::2] for leaf in leaves]
    expected = run(dense_lse, [leaf.contiguous() for leaf in leaves], make, Circle())
    assert_same(run(tiled, leaves, make, Circle()), expected)


@pytest.mark.parametrize("form", ["class", "cross", "mask"])
@pytest.mark.parametrize("which", [0, 1])
@both
def test_gradient_of_one_operand(form, which, statistic):
    leaves, make = operands(form, 17)
    leaves[which].requires_grad_()
    found = run(tiled, leaves, make, Circle(), statistic=statistic)
    assert_same(found, run(dense_lse, leaves, make, Circle(), statistic=statistic))


@every_form
@pytest.mark.parametrize("side", [0, 1])
def test_gradient_of_one_side(form, side):
    leaves, make = operands(form, 17)
    grads = []
    for backend in (tiled, dense_lse):
        x = leaves[0].clone().requires_grad_()
        value = backend(make(x, *leaves[1:]), Circle())[side]
        value[value != -torch.inf].sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads)


@every_form
@both
def test_nan_reaches_the_output(form, statistic):
    for which in range(len(operands(form, 17)[0])):
        leaves, make = operands(form, 17)
        leaves[which][11, 0] = torch.nan
        lse = tiled(make(*leaves), Circle(), statistic=statistic)
        expected = dense_lse(make(*leaves), Circle(), statistic=statistic)
        assert lse.neg.isnan().any()
        assert lse.neg.isnan().tolist() == expected.neg.isnan().tolist()


@every_form
@both
def test_same_input_same_bits(form, statistic):
    leaves, make = operands(form, 37, dtype=torch.float32)
    first, second = (run(tiled, leaves, make, Circle(), statistic=statistic) for _ in range(2))
    assert all(torch.equal(*both) for both in zip(first[0] + first[1], second[0] + second[1], strict=True))


@every_form
def test_a_negative_beyond_its_optimum_counts_as_one(form):
    leaves, make = operands(form, 17)
    leaves = [torch.ones_like(leaf) * (1 if i else -1) for i, leaf in enumerate(leaves)]
    lse = tiled(make(*leaves), Circle())
    expected = dense_lse(make(*leaves), Circle())
    torch.testing.assert_close(lse.neg, expected.neg)


@every_form
def test_backward_twice_over_kept_tiles(form):
    leaves, make = operands(form, 37)
    x = leaves[0].requires_grad_()
    lse = tiled(make(*leaves), Circle())
    total = lse.neg[lse.neg != -torch.inf].sum()
    (first,) = torch.autograd.grad(total, x, retain_graph=True)
    (second,) = torch.autograd.grad(total, x)
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(1, 40),
    form=st.sampled_from(FORMS),
    rule=st.sampled_from(list(RULES.values())),
    height=st.integers(1, 20),
    width=st.integers(1, 40),
    keep=st.integers(0, 4000),
    few=st.sampled_from([0, 3, 64]),
)
def test_any_tiling(seed, batch, form, rule, height, width, keep, few):
    case = operands(form, batch, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positives, "FEW", few)
        found = run(tiled, *case, rule, tiling=Tiling(height, width, keep))
    assert_same(found, run(dense_lse, *case, rule), rtol=1e-9)


@dataclass(frozen=True)
class Cubic(Rule):
    """A rule of a user's own."""

    scale: float = 3.0

    def positive(self, s):
        return -self.scale * s**3

    def negative(self, s):
        return self.scale * s**3

    def positive_slope(self, s):
        return -3 * self.scale * s**2

    def negative_slope(self, s):
        return 3 * self.scale * s**2


class LeastEffort(Rule):
    """Neither a dataclass nor a slope: what autograd finds, one factor detached."""

    def positive(self, s):
        return -3.0 * s.detach() ** 2 * s

    def negative(self, s):
        return 2.0 * s**3


@every_form
@both
@pytest.mark.parametrize("rule", [Cubic(), LeastEffort()])
def test_a_rule_of_ones_own(form, statistic, rule):
    case = operands(form, 37)
    assert_same(run(tiled, *case, rule, statistic=statistic), run(dense_lse, *case, rule, statistic=statistic))


@dataclass(frozen=True)
class Steeper(Circle):
    """A rule of ours with another logit, and nothing else."""

    def negative(self, s):
        return 2.0 * super().negative(s)


@every_form
def test_a_rule_that_changes_one_logit_of_ours_does_not_keep_its_short_form(form):
    case, rule = operands(form, 37), Steeper(0.25, 8.0)
    assert rule.kernel() is None
    assert_same(run(tiled, *case, rule), run(dense_lse, *case, rule))
    torch.testing.assert_close(rule.negative_slope(torch.tensor([0.5])), torch.tensor([2 * 8.0 * 0.75]))


def test_a_rule_without_slopes_goes_densely_when_compiled():
    """Inside an operator there is no autograd to find them."""
    assert spec_of(LeastEffort()) is None
    assert LeastEffort().is_constant
    assert not Cubic(torch.tensor(3.0)).is_constant


@dataclass(frozen=True, kw_only=True)
class ByName(Circle):
    power: float


@dataclass(frozen=True)
class Whole(Circle):
    power: int = 3


def test_a_rule_defined_anew_is_the_new_one(monkeypatch):
    path, numbers = spec_of(Cubic(2.0))
    assert type(rule_of(path, numbers)) is Cubic
    again = dataclass(frozen=True)(type("Cubic", (Cubic,), {}))
    monkeypatch.setitem(globals(), "Cubic", again)
    assert type(rule_of(path, numbers)) is again


def test_spec():
    for rule in [*RULES.values(), Cubic(2.0)]:
        assert rule_of(*spec_of(rule)) == rule

    class Local(Circle):
        pass

    class NotNumbers:
        positive = negative = positive_slope = negative_slope = staticmethod(lambda s: s)

    assert rule_of(*spec_of(ByName(power=2.0))) == ByName(power=2.0)
    assert spec_of(Whole()) is None  # a whole number must stay one
    assert spec_of(Local()) is None
    assert spec_of(NotNumbers()) is None
    assert spec_of(Cubic(torch.tensor(3.0))) is None  # a learnt number needs autograd, so the dense backend


@both
def test_dispatch_gives_the_same_numbers_on_both_sides(statistic, monkeypatch):
    case = operands("pair", 37)
    expected = run(similarity.pair_lse, *case, Circle(), normalize=True, statistic=statistic)
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", 0)
    found = run(similarity.pair_lse, *case, Circle(), normalize=True, statistic=statistic)
    assert_same(found, expected)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    similarity.pair_lse(case[1](*case[0]), Cubic(scale), normalize=True).neg.sum().backward()
    assert scale.grad != 0


def test_no_references_and_no_anchors(monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", -1)
    for batch, references in ((0, 3), (3, 0), (0, 0)):
        x, y = torch.randn(batch, 4, requires_grad=True), torch.randn(references, 4, requires_grad=True)
        for statistic in ("logsumexp", "max"):
            pairs = Pairs(x, y, torch.zeros(batch, dtype=torch.int64), torch.arange(references))
            lse = similarity.pair_lse(pairs, Circle(), normalize=True, statistic=statistic)
            assert (lse.pos == -torch.inf).all()
            assert lse.neg.shape == (batch,)
            for gradient in torch.autograd.grad(lse.pos.sum() + lse.neg.sum(), (x, y)):
                assert (gradient == 0).all()
