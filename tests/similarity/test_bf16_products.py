"""Rows in bf16 where fp32 may be multiplied in bf16: no similarity is rounded.

On a processor that does not multiply bf16 the setting changes no product, and all of this holds as well.
"""

import pytest
import torch

from circlet.rules import Circle
from circlet.similarity import across, dense, tiles, whole
from circlet.similarity.blocks import Tiling
from circlet.similarity.pairs import Pairs
from circlet.similarity.rows import prepare, products_in_bf16, through_norm_
from tests.similarity.cases import FORMS, TINY, operands, relative_error, run, tiled, whole_lse
from tests.similarity.test_accuracy import embeddings, loss_and_gradients
from tests.similarity.test_across import by_ranks

BACKENDS = {"tiles": tiled, "whole": whole_lse}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=[True, False], ids=["kernels", "torch"])
def medium(request, monkeypatch):
    monkeypatch.setattr("circlet.similarity.native.USE_NATIVE", request.param)
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def test_the_setting_is_seen():
    assert products_in_bf16(CPU)
    assert not products_in_bf16(torch.device("meta"))
    torch.set_float32_matmul_precision("highest")
    assert not products_in_bf16(CPU)


@pytest.mark.parametrize("gamma", [16.0, 256.0])
@pytest.mark.parametrize("stage", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("form", ["pair", "class"])
@pytest.mark.parametrize("backend", ["tiles", "whole"])
def test_the_loss_is_that_of_fp32_and_the_gradient_errs_by_roundings_to_bf16(gamma, stage, form, backend):
    """Unit rows rounded to bf16 would cost up to 2e-2 of the loss here, and 3e-2 of the gradient."""
    x, centres, labels = embeddings(stage)
    leaves = [x.bfloat16()] if form == "pair" else [x.bfloat16(), centres.bfloat16()]
    reference_labels = None if form == "pair" else torch.arange(len(centres))

    def make(x, y=None):
        return Pairs(x, y, labels, reference_labels)

    rule = Circle(0.25, gamma)
    exact_loss, exact = loss_and_gradients(dense.pair_lse, [leaf.double() for leaf in leaves], make, rule)
    settings = {"tiling": Tiling(64, 128, 65536)} if backend == "tiles" else {}
    backend = tiles.pair_lse if backend == "tiles" else whole.pair_lse
    loss, found = loss_and_gradients(backend, leaves, make, rule, **settings)
    torch.testing.assert_close(loss.double(), exact_loss, rtol=2e-5, atol=0)
    assert all(relative_error(*both) < 4.5e-3 for both in zip(found, exact, strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS.keys())
@pytest.mark.parametrize("normalize", [True, False])
def test_every_form(form, backend, normalize):
    leaves, make = operands(form, 37, dim=24, dtype=torch.bfloat16)
    leaves = [leaf if normalize else leaf / 4 for leaf in leaves]
    leaves[0][3] = 0
    rule = Circle(0.25, 16.0)
    expected = run(dense.pair_lse, [leaf.double() for leaf in leaves], make, rule, normalize=normalize)
    found = run(backend, leaves, make, rule, normalize=normalize)
    for value, reference in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-5)
    for value, reference in zip(found[1], expected[1], strict=True):
        assert value.dtype == torch.bfloat16
        assert relative_error(value, reference) < 6e-3
    assert not normalize or (found[1][0][3] == 0).all()


@pytest.mark.parametrize("keep", [0, 2**20])
def test_over_ranks_both_passes_multiply_alike(keep, monkeypatch):
    monkeypatch.setattr(across, "TILING", Tiling(height=5, width=7, keep_bytes=keep))
    leaves, make = operands("pair", 37, dim=24, dtype=torch.bfloat16)
    rule = Circle(0.25, 256.0)
    expected = run(dense.pair_lse, [leaf.double() for leaf in leaves], make, rule, normalize=True)
    found = run(by_ranks([5, 20]), leaves, make, rule)
    for value, reference in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-4)
    assert relative_error(found[1][0], expected[1][0]) < 6e-3


def test_only_one_operand_in_bf16():
    leaves, make = operands("cross", 37, dim=24, dtype=torch.bfloat16)
    leaves[1] = leaves[1].float()
    rule = Circle(0.25, 16.0)
    expected = run(dense.pair_lse, [leaf.double() for leaf in leaves], make, rule, normalize=True)
    found = run(tiled, leaves, make, rule, tiling=TINY)
    assert [gradient.dtype for gradient in found[1]] == [torch.bfloat16, torch.float32]
    assert all(relative_error(*both) < 3e-2 for both in zip(found[1], expected[1], strict=True))


def test_rows_of_any_length():
    directions = torch.nn.functional.normalize(torch.randn(7, 40, generator=torch.Generator().manual_seed(0)), dim=1)
    lengths = torch.tensor([[1.0], [3e-38], [1e-25], [0.0], [1e20], [3e37], [700.0]])
    x = (directions * lengths).bfloat16()
    rows = prepare(x, None, torch.float32, normalize=True)
    assert torch.equal(rows.rows.bfloat16().float(), rows.rows)
    unit = torch.nn.functional.normalize(x.double(), dim=1, eps=1e-300)
    torch.testing.assert_close((rows.rows * rows.factor).double(), unit, rtol=1e-6, atol=1e-7)
    gradient = torch.randn(7, 40, generator=torch.Generator().manual_seed(1))
    found = through_norm_(gradient * rows.factor, rows).double()
    norm = x.double().norm(dim=1, keepdim=True)
    radial = (gradient.double() * unit).sum(1, keepdim=True)
    expected = torch.where(norm == 0, 0.0, (gradient.double() - radial * unit) / norm)
    torch.testing.assert_close(found * norm, expected * norm, rtol=1e-5, atol=1e-6)
