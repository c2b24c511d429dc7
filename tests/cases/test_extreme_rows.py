"""Rows of any finite length but zero keep their direction: very long, very short, and both in one batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import circlet
from circlet import similarity
from circlet.rules import Circle
from circlet.similarity import dense, unit_rows
from circlet.similarity.rows import prepare
from tests.losses.cases import EVERY_LOSS, batch, with_reduction
from tests.similarity.cases import FORMS, dense_lse, operands, run, tiled, whole_lse

# The others depend on the lengths of the embeddings.
BY_LENGTH = ("softmax", "n_pair", "adaface", "magface")
ON_COSINE = {name: loss for name, loss in EVERY_LOSS.items() if name not in BY_LENGTH}
LENGTHS = [1.0, 1e30, 1e-38, 1e19, 1e-25, 1e-20, 1e-30, 3e37, 1e12, 1e-12]
every_loss = pytest.mark.parametrize("loss", ON_COSINE.values(), ids=ON_COSINE.keys())


def of_lengths(lengths, rows):
    return torch.tensor(lengths, dtype=rows.dtype).repeat(len(rows))[: len(rows), None] * rows


def value_and_gradient(loss, rows, labels):
    leaf = rows.clone().requires_grad_()
    value = loss(leaf, labels)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def assert_equals_exact(loss, rows, labels, rtol):
    """Of rows in fp64 the squares are in range; what a gradient is beyond the range of the dtype is infinite there."""
    value, gradient = value_and_gradient(loss, rows, labels)
    exact, exact_gradient = value_and_gradient(loss, rows.double(), labels)
    torch.testing.assert_close(value.double(), exact, rtol=rtol, atol=rtol)
    beyond = exact_gradient.to(rows.dtype).isinf()
    assert torch.equal(gradient[beyond], exact_gradient[beyond].to(rows.dtype))
    norms = rows.double().norm(dim=1, keepdim=True)
    found, expected = (torch.where(beyond, 0.0, norms * g.double()) for g in (gradient, exact_gradient))
    scale = float(expected.abs().max())
    least = float(norms.max()) * torch.finfo(rows.dtype).tiny * torch.finfo(rows.dtype).eps  # what underflows
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * scale + least)


@every_loss
@pytest.mark.parametrize("whole_pairs", [similarity.WHOLE_PAIRS, 0], ids=["one matrix", "tiles"])
def test_a_loss_on_cosine_of_rows_of_mixed_lengths(loss, whole_pairs, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    rows, labels = batch(num_classes=6, per_class=4, dtype=torch.float32)
    rows = of_lengths(LENGTHS, rows / rows.norm(dim=1, keepdim=True))
    assert_equals_exact(loss, rows, labels, rtol=1e-3)


@every_loss
def test_a_loss_of_long_rows_is_that_of_short_ones(loss):
    rows, labels = batch(num_classes=6, per_class=4, dtype=torch.float32)
    value, gradient = value_and_gradient(loss, rows, labels)
    for length in (2.0**64, 2.0**-83, 2.0**-66):  # 1.8e19, 1e-25, 1e-20
        found, found_gradient = value_and_gradient(loss, length * rows, labels)
        assert torch.equal(found, value)
        torch.testing.assert_close(
            length * found_gradient, gradient, rtol=1e-5, atol=1e-6 * float(gradient.abs().max())
        )


@given(exponents=st.lists(st.integers(-95, 95), min_size=12, max_size=12))
@settings(max_examples=25)
def test_powers_of_two_change_no_bit_of_a_loss(exponents):
    rows, labels = batch(num_classes=4, per_class=3, dtype=torch.float32)
    factors = torch.tensor(exponents, dtype=torch.float32)[:, None].exp2()
    for loss in (EVERY_LOSS["circle"], EVERY_LOSS["triplet"], EVERY_LOSS["supcon"]):
        value, gradient = value_and_gradient(loss, rows, labels)
        found, found_gradient = value_and_gradient(loss, factors * rows, labels)
        assert torch.equal(found, value)
        atol = 1e-6 * float(gradient.abs().max())
        torch.testing.assert_close(factors * found_gradient, gradient, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("statistic", ["logsumexp", "max"])
def test_tiles_of_rows_of_mixed_lengths(form, statistic):
    leaves, make = operands(form, 37, dtype=torch.float32)
    leaves = [of_lengths([1e-34 if length == 1e-38 else length for length in LENGTHS], leaf) for leaf in leaves]
    exact = run(dense_lse, [leaf.double() for leaf in leaves], make, Circle(), statistic=statistic)
    backends = [tiled, dense_lse] if statistic == "max" else [tiled, dense_lse, whole_lse]
    for backend in backends:
        found = run(backend, leaves, make, Circle(), **({} if backend is whole_lse else {"statistic": statistic}))
        for value, expected in zip(found[0], exact[0], strict=True):
            torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-3)
        for leaf, gradient, expected in zip(leaves, found[1], exact[1], strict=True):
            fits = expected.float().isfinite()
            assert gradient[fits].isfinite().all()
            norms = leaf.double().norm(dim=1, keepdim=True)
            pair = [torch.where(fits, norms * g.double(), 0.0) for g in (gradient, expected)]
            torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-3 * float(pair[1].abs().max()))


@pytest.mark.parametrize("exponent", [-1000, -660, 660, 1000])
@pytest.mark.parametrize("name", ["circle", "triplet", "supcon"])
def test_double_precision_has_the_same_ends(exponent, name):
    rows, labels = batch(num_classes=4, per_class=3)
    value, gradient = value_and_gradient(EVERY_LOSS[name], rows, labels)
    found, found_gradient = value_and_gradient(EVERY_LOSS[name], rows * 2.0**exponent, labels)
    assert torch.equal(found, value)
    if abs(exponent) < 900:
        torch.testing.assert_close(found_gradient * 2.0**exponent, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "lengths"),
    [(torch.float16, [1.0, 2e4, 1e-4, 3e-6]), (torch.bfloat16, LENGTHS)],
    ids=["fp16", "bf16"],
)
@pytest.mark.parametrize("name", ["circle", "triplet", "supcon"])
def test_sixteen_bits(dtype, lengths, name):
    rows, labels = batch(num_classes=4, per_class=3, dtype=torch.float32)
    rows = of_lengths(lengths, rows / rows.norm(dim=1, keepdim=True)).to(dtype)
    value, gradient = value_and_gradient(EVERY_LOSS[name], rows, labels)
    exact, exact_gradient = value_and_gradient(EVERY_LOSS[name], rows.double(), labels)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    norms = rows.double().norm(dim=1, keepdim=True)
    fits = exact_gradient.to(dtype).isfinite()
    found, expected = (torch.where(fits, norms * g.double(), 0.0) for g in (gradient, exact_gradient.to(dtype)))
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-3 * float(expected.abs().max()))


def test_the_shortest_rows_that_there_are():
    """Below the smallest normal number: unit rows, and a gradient that is infinite where no number is large enough."""
    rows = torch.tensor([[3e-40, 4e-40], [1e-45, 0.0], [-1e-42, 1e-42], [3.4e38, 3.4e38]])
    half = 0.5**0.5
    expected = torch.tensor([[0.6, 0.8], [1.0, 0.0], [-half, half], [half, half]])
    torch.testing.assert_close(unit_rows(rows), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prepare(rows, None, rows.dtype, normalize=True).rows, expected, rtol=1e-4, atol=1e-4)
    labels = torch.tensor([0, 0, 1, 1])
    for name in ("circle", "triplet"):
        value, gradient = value_and_gradient(EVERY_LOSS[name], rows, labels)
        assert value.isfinite()
        assert not gradient.isnan().any()


@pytest.mark.parametrize("whole_pairs", [similarity.WHOLE_PAIRS, 0], ids=["one matrix", "tiles"])
@every_loss
def test_zero_rows_stay_zero_beside_extreme_ones(loss, whole_pairs, monkeypatch):
    monkeypatch.setattr(similarity, "WHOLE_PAIRS", whole_pairs)
    rows, labels = batch(num_classes=4, per_class=3, dtype=torch.float32)
    rows[5] = 0.0
    value, gradient = value_and_gradient(loss, rows, labels)
    rows[2] *= 2.0**80
    found, found_gradient = value_and_gradient(loss, rows, labels)
    assert torch.equal(found, value)
    assert (found_gradient[5] == 0).all()
    assert torch.equal(found_gradient[:2], gradient[:2])


def test_usual_rows_are_divided_by_their_length_and_no_more():
    rows = torch.randn(7, 5)
    plain = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    beside = torch.cat([rows, torch.full((1, 5), 1e30), torch.zeros(1, 5)])
    for found in (unit_rows(rows), unit_rows(beside)[:7]):
        assert torch.equal(found, plain)
    prepared, again = (prepare(each, None, rows.dtype, normalize=True) for each in (rows, beside))
    torch.testing.assert_close(prepared.rows, plain, rtol=2e-7, atol=0)
    assert torch.equal(again.rows[:7], prepared.rows)
    assert torch.equal(again.norm[:7], prepared.norm)


def test_class_weights_and_memory_of_extreme_lengths():
    rows, labels = batch(num_classes=5, per_class=3, dtype=torch.float32)
    weights = of_lengths(LENGTHS, torch.randn(5, 8, generator=torch.Generator().manual_seed(1)))
    bank = circlet.MemoryBank(size=15, embedding_dim=8)
    bank.update(of_lengths(LENGTHS[::-1], rows + 0.1), labels)
    references = [(weights, torch.arange(5)), bank, None]
    exact = [(weights.double(), torch.arange(5)), (bank.embeddings.double(), bank.labels), None]
    for name in ("circle", "triplet", "supcon", "arcface"):
        loss = with_reduction(EVERY_LOSS[name], "none")
        torch.testing.assert_close(
            loss(rows, labels, references).double(), loss(rows.double(), labels, exact), rtol=1e-4, atol=1e-4
        )


def test_a_row_with_infinity_is_still_named():
    rows, labels = batch(num_classes=4, per_class=3, dtype=torch.float32)
    rows[3, 1] = torch.inf
    for name in ("circle", "triplet", "supcon"):
        with pytest.raises(ValueError, match="embeddings: found NaN or infinity in 1 of 12 rows"):
            EVERY_LOSS[name](rows, labels)


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_code_does_the_same():
    rows, labels = batch(num_classes=6, per_class=4, dtype=torch.float32)
    rows = of_lengths(LENGTHS, rows)
    loss = EVERY_LOSS["circle"]
    torch.compiler.reset()
    found, gradient = value_and_gradient(torch.compile(loss, fullgraph=True, backend="aot_eager"), rows, labels)
    value, expected = value_and_gradient(loss, rows, labels)
    torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5)
    norms = rows.double().norm(dim=1, keepdim=True)
    fits = gradient.isfinite() & expected.isfinite()
    assert fits.double().mean() > 0.8
    pair = [torch.where(fits, norms * g.double(), 0.0) for g in (gradient, expected)]
    torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-3 * float(pair[1].abs().max()))


def test_similarities_of_extreme_rows():
    rows = torch.tensor([[3e25, 4e25], [3e-25, 4e-25], [-4.0, 3.0]])
    s = dense.similarities(rows, None, normalize=True)
    torch.testing.assert_close(s, torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
