"""Kept tiles: what is written is read again, once, and memory that stays for the next loss is nobody else's."""

import threading
from functools import partial

import pytest
import torch

from circlet import CircleLoss
from circlet.rules import Circle
from circlet.similarity import dense, kept, tiles
from circlet.similarity.blocks import Tiling
from circlet.similarity.kept import KeptTiles
from circlet.similarity.pairs import Pairs


@pytest.fixture(autouse=True)
def spare(monkeypatch):
    """What stays, from none on."""
    monkeypatch.setattr(kept, "_spare", [])
    return kept._spare


def of(pairs, dtype=torch.float32, keep_bytes=10**6):
    return KeptTiles.of_its_own(torch.empty(0), dtype, pairs, keep_bytes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_are_read_as_they_were_written_and_once(dtype):
    tiles = of(60, dtype, keep_bytes=50 * dtype.itemsize)
    tiles.place(0, 4, 10).fill_(1)
    tiles.place(40, 2, 5).fill_(2)
    assert tiles.place(41, 2, 5) is None  # beyond what may be kept
    read = tiles.read()
    assert tiles.place(0, 4, 10) is None
    assert tiles.read().place(0, 4, 10) is None
    assert (read.place(0, 4, 10) == 1).all()
    assert (read.place(40, 2, 5) == 2).all()
    read.finish()
    assert read.place(0, 1, 1) is None


def test_nothing_is_kept():
    for none in (of(50, keep_bytes=0), of(0), KeptTiles(None)):
        assert none.place(0, 1, 1) is None
        none.read().finish()


def test_memory_stays_for_the_next(spare):
    first = of(50)
    where = first.place(0, 5, 10).data_ptr()
    assert spare == []
    first.read().finish()
    assert len(spare) == 1
    second, third = of(40), of(40)
    assert second.place(0, 4, 10).data_ptr() == where
    assert third.place(0, 4, 10).data_ptr() != where  # it is taken
    for each in (second, third):
        each.read().finish()
    assert len(spare) == 1
    assert of(60).place(0, 6, 10).data_ptr() != where  # too small
    assert spare == []
    of(50).read().finish()
    kept.clear()
    assert spare == []


def test_of_other_dtypes_and_of_the_gradient_none_stays(spare):
    of(50, torch.float64).read().finish()
    KeptTiles(torch.empty(50)).read().finish()
    assert spare == []


def test_it_is_of_fp32_on_a_cpu_whatever_the_default():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert of(50).memory.dtype == torch.float32
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("dim", [3, 12, 40])
@pytest.mark.parametrize("batch", [7, 12, 30])
@pytest.mark.parametrize("normalize", [True, False])
def test_tiles_where_the_gradient_of_the_references_will_be(batch, dim, normalize):
    """More and fewer anchors than dimensions, in one tile of rows and in several; sorted references and others."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randn(53, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 53, (batch,), generator=generator)
    for reference_labels in (torch.arange(53), torch.arange(53).flip(0)):
        pairs = Pairs(x, y, labels, reference_labels)
        found = []
        for tiling in (Tiling(8, 16, 10**6), Tiling(64, 16, 10**6), Tiling(8, 16, 0), None):
            backend = dense.pair_lse if tiling is None else partial(tiles.pair_lse, tiling=tiling)
            lse = backend(pairs, Circle(gamma=8.0), normalize=normalize)
            loss = torch.logaddexp(lse.pos + lse.neg, torch.zeros(())).sum()
            for _ in range(1 if tiling is None else 2):  # the second time over no tiles
                found.append(torch.autograd.grad(loss, [x, y], retain_graph=True))
        for gradients in found:
            for gradient, expected in zip(gradients, found[-1], strict=True):
                torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-11)


def test_the_gradient_is_an_ordinary_tensor_that_later_losses_leave_alone():
    loss, x, labels, weights = case(0, classes=1000)
    loss(x, labels, weights).backward()
    gradient = weights.grad.clone()
    assert weights.grad.is_contiguous()
    assert weights.grad.untyped_storage().nbytes() == weights.nbytes
    first = weights.grad
    weights.grad = None
    for _ in range(3):
        loss(x, labels, weights).backward()
    assert torch.equal(first, gradient)


def case(seed, classes=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(900, 8, generator=generator, requires_grad=True)
    weights = () if classes is None else (torch.randn(classes, 8, generator=generator, requires_grad=True),)
    return CircleLoss(gamma=32.0), x, torch.arange(900) // 4, *weights


def test_losses_that_overlap_give_what_each_gives_alone(spare):
    cases = [case(0), case(1, 1000), case(2)]
    expected = [torch.autograd.grad(loss(*given), given[0])[0] for loss, *given in cases]
    assert len(spare) == 1
    losses = [loss(*given) for loss, *given in cases]
    for turn in (2, 0, 1):
        (grad,) = torch.autograd.grad(losses[turn], cases[turn][1], retain_graph=True)
        assert torch.equal(grad, expected[turn])
    for turn in (0, 1, 2):  # tiles are computed anew
        (grad,) = torch.autograd.grad(losses[turn], cases[turn][1])
        torch.testing.assert_close(grad, expected[turn], rtol=1e-5, atol=1e-6)


def test_losses_of_several_threads_give_what_each_gives_alone():
    cases = [case(seed) for seed in range(4)]
    expected = [torch.autograd.grad(loss(*given), given[0])[0] for loss, *given in cases]
    wrong = []

    def repeat(turn):
        loss, *given = cases[turn]
        for _ in range(5):
            (grad,) = torch.autograd.grad(loss(*given), given[0])
            wrong.extend([] if torch.allclose(grad, expected[turn], rtol=1e-4, atol=1e-6) else [turn])

    threads = [threading.Thread(target=repeat, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
