"""The form over ranks, its rows dealt to ranks that exist in the test only, against the whole batch at once."""

import pytest
import torch

from circlet.similarity import across
from circlet.similarity.pairs import PairLse
from tests.similarity.cases import RULES, assert_same, dense_lse, operands, relative_error, run


def by_ranks(cuts, normalize=True):
    """A backend whose rows [0, cuts[0]), [cuts[0], cuts[1]) ... are of one rank each."""

    class ByRanks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, labels, rule):
            ctx.owns, ctx.rule = list(zip([0, *cuts], [*cuts, len(x)], strict=True)), rule
            lse = torch.cat([across.own_lse(x, labels, own, rule, normalize=normalize) for own in ctx.owns], 1)
            ctx.save_for_backward(x, labels, lse)
            return lse

        @staticmethod
        def backward(ctx, grads):
            x, labels, lse = ctx.saved_tensors
            settings = (lse, grads, ctx.rule)
            parts = [across.own_gradient(x, labels, own, *settings, normalize=normalize) for own in ctx.owns]
            return torch.cat(parts), None, None

    def backend(pairs, rule):
        dtype = torch.float64 if pairs.anchors.dtype == torch.float64 else torch.float32
        return PairLse(*ByRanks.apply(pairs.anchors, pairs.labels, rule).to(dtype))

    return backend


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(across, "HEIGHT", 5)
    monkeypatch.setattr(across, "WIDTH", 7)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("batch", "cuts"), [(1, []), (2, [1]), (9, [9]), (37, [0, 5, 20]), (37, [1, 1, 36])])
def test_equals_dense(name, batch, cuts, small_tiles):
    leaves, make = operands("pair", batch)
    for normalize in (True, False):
        leaves = [leaf if normalize else leaf / 4 for leaf in leaves]
        expected = run(lambda pairs, rule, n=normalize: dense_lse(pairs, rule, normalize=n), leaves, make, RULES[name])
        assert_same(run(by_ranks(cuts, normalize), leaves, make, RULES[name]), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_errs_no_more_than_dense(dtype):
    """In whole tiles, beside fp64 with the same operands."""
    x = torch.randn(600, 64, generator=torch.Generator().manual_seed(3)).to(dtype)
    _, make = operands("pair", 600)
    exact = run(dense_lse, [x.double()], make, RULES["circle"])[1][0]
    found, dense = (run(backend, [x], make, RULES["circle"])[1][0] for backend in (by_ranks([250]), dense_lse))
    assert found.dtype == dtype
    assert relative_error(found, exact) <= 1.1 * relative_error(dense, exact) + 2e-7


def test_no_rows_at_all():
    x, labels = torch.randn(0, 4), torch.zeros(0, dtype=torch.int64)
    lse = across.own_lse(x, labels, (0, 0), RULES["circle"], normalize=True)
    assert lse.shape == (2, 0)
    assert across.own_gradient(x, labels, (0, 0), lse, lse, RULES["circle"], normalize=True).shape == (0, 4)


def test_a_zero_row_has_no_gradient():
    x = torch.randn(6, 4)
    x[2] = 0
    labels = torch.arange(6) // 2
    lse = across.own_lse(x, labels, (0, 6), RULES["circle"], normalize=True)
    gradient = across.own_gradient(x, labels, (0, 6), lse, torch.ones_like(lse), RULES["circle"], normalize=True)
    assert (gradient[2] == 0).all()
    assert gradient.isfinite().all()
