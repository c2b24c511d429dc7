"""The form over ranks, its rows dealt to ranks that exist in the test only, against the whole batch at once."""

from itertools import pairwise

import pytest
import torch

from circlet.similarity import across
from circlet.similarity.blocks import Tiling
from circlet.similarity.pairs import PairLse
from tests.similarity.cases import RULES, assert_same, dense_lse, operands, relative_error, run


def by_ranks(cuts, normalize=True):
    """A backend whose rows [0, cuts[0]), [cuts[0], cuts[1]) ... are of one rank each."""

    def backend(pairs, rule):
        dtype = torch.float64 if pairs.anchors.dtype == torch.float64 else torch.float32
        bounds = [0, *cuts, len(pairs.anchors)]
        sizes = [stop - start for start, stop in pairwise(bounds)]
        return PairLse(*ByRanks.apply(pairs.anchors, pairs.labels, sizes, rule, normalize).to(dtype))

    return backend


class ByRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, labels, sizes, rule, normalize):
        ctx.sizes, ctx.rank_rows = sizes, []
        for rank in range(len(sizes)):
            rows, of_rows = apart(x, sizes, rank), apart(labels, sizes, rank)
            ctx.rank_rows.append(across.RankRows(rows[0], of_rows[0], rows[1], of_rows[1], rule, normalize))
        lse, ctx.kept = zip(*map(across.own_lse, ctx.rank_rows), strict=True)
        ctx.lse = torch.cat(lse, 1)
        return ctx.lse.clone()

    @staticmethod
    def backward(ctx, grads):
        parts = []
        for rank, (rank_rows, kept) in enumerate(zip(ctx.rank_rows, ctx.kept, strict=True)):
            lse, arrived = (apart(per_row.T, ctx.sizes, rank) for per_row in (ctx.lse, grads))
            sides = (lse[0].T, arrived[0].T, lse[1].T, arrived[1].T)
            parts.append(across.own_gradient(rank_rows, kept, *sides))
        return torch.cat(parts), *[None] * 4


def apart(rows, sizes, rank):
    """Rows of a rank, and of the others."""
    parts = rows.split(sizes)
    return parts[rank], torch.cat([part for i, part in enumerate(parts) if i != rank] or [rows[:0]])


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(across, "TILING", Tiling(height=5, width=7))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    ("batch", "cuts"), [(0, [0]), (1, [0]), (1, []), (2, [1]), (9, [9]), (37, [0, 5, 20]), (37, [1, 1, 36])]
)
def test_equals_dense(name, batch, cuts, small_tiles):
    leaves, make = operands("pair", batch)
    for normalize in (True, False):
        leaves = [leaf if normalize else leaf / 4 for leaf in leaves]
        expected = run(lambda pairs, rule, n=normalize: dense_lse(pairs, rule, normalize=n), leaves, make, RULES[name])
        assert_same(run(by_ranks(cuts, normalize), leaves, make, RULES[name]), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_errs_no_more_than_dense(dtype):
    """In whole tiles, beside fp64 with the same operands.

    In fp32 plus gamma times a last bit of the similarities that count, up to 0.5 here: in the gradient of a row,
    e^(e_ij - lse_j) has s_ij as its own rank computes it, and an lse_j that summed s_ji as another rank does, in tiles
    of another shape. With AVX-512 both come out with the same bits, without it they need not.
    """
    x = torch.randn(600, 64, generator=torch.Generator().manual_seed(3)).to(dtype)
    _, make = operands("pair", 600)
    exact = run(dense_lse, [x.double()], make, RULES["circle"])[1][0]
    found, dense = (run(backend, [x], make, RULES["circle"])[1][0] for backend in (by_ranks([250]), dense_lse))
    assert found.dtype == dtype
    last_bit = RULES["circle"].gamma * 2.0**-25 if dtype == torch.float32 else 0.0
    assert relative_error(found, exact) <= 1.1 * relative_error(dense, exact) + 2e-7 + last_bit


def test_kept_tiles_are_as_good_as_new_ones(monkeypatch):
    leaves, make = operands("pair", 37)
    kept = run(by_ranks([11]), leaves, make, RULES["circle"])
    monkeypatch.setattr(across, "TILING", Tiling(keep_bytes=0))
    assert_same(run(by_ranks([11]), leaves, make, RULES["circle"]), kept)


def test_a_zero_row_has_no_gradient():
    leaves, make = operands("pair", 9)
    leaves[0][2] = 0
    _, (gradient,) = run(by_ranks([4]), leaves, make, RULES["circle"])
    assert (gradient[2] == 0).all()
    assert gradient.isfinite().all()
