"""Kept tiles: what is written is read again, once, and memory that stays for the next loss is nobody else's."""

import threading

import pytest
import torch

from circlet import CircleLoss
from circlet.similarity import kept
from circlet.similarity.kept import KeptTiles

NUMBERS = 100  # of a slab


@pytest.fixture(autouse=True)
def spare(monkeypatch):
    """What stays, from none on."""
    monkeypatch.setattr(kept, "_spare", [])
    return kept._spare


@pytest.fixture
def small_slabs(monkeypatch):
    monkeypatch.setattr(kept, "SLAB_BYTES", 4 * NUMBERS)


def filled(tiles, shapes):
    """Write each tile that has a place with its number; which have none."""
    for number, shape in enumerate(shapes):
        place = tiles.take(*shape)
        if place is None:
            return len(shapes) - number
        place.fill_(number)
    return 0


def of(pairs, dtype=torch.float32, keep_bytes=10**6, *, stays=False):
    return KeptTiles(torch.empty(0), dtype, pairs, keep_bytes, stays=stays)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_are_read_as_they_were_written_and_once(dtype, small_slabs, spare):
    shapes = [(6, 10), (3, 5), (4, 10), (6, 10), (1, 1)]
    tiles = of(sum(a * b for a, b in shapes) + 100, dtype)
    assert filled(tiles, shapes) == 0 if dtype == torch.float32 else True
    tiles.read()
    for number, shape in enumerate(shapes):
        tile = tiles.take(*shape)
        assert tile is None or (tile.shape == shape and (tile == number).all())
        assert tile is not None or dtype == torch.float64
    tiles.finish()
    assert spare == []  # all of it is given back
    assert tiles.read().take(1, 1) is None


def test_what_is_left_over_is_not_kept(small_slabs):
    shapes = [(5, 10)] * 5
    tiles = of(250, keep_bytes=4 * 120)
    assert filled(tiles, shapes) == 3
    tiles.read()
    assert [None if tile is None else float(tile[0, 0]) for tile in (tiles.take(*shape) for shape in shapes)] == [
        0.0, 1.0, None, None, None
    ]  # fmt: skip
    assert of(250, keep_bytes=0).take(1, 1) is None


def test_a_slab_stays_for_the_next(spare):
    first = of(50, stays=True)
    place = first.take(5, 10)
    where = place.data_ptr()
    assert spare == []
    first.read().finish()
    assert len(spare) == 1
    second = of(40, stays=True)
    assert second.take(4, 10).data_ptr() == where
    third = of(40, stays=True)
    assert third.take(4, 10).data_ptr() != where  # it is taken
    assert first.read().take(5, 10) is None  # and no longer the first's
    for tiles in (second, third):
        tiles.read().finish()
    assert len(spare) == 1
    assert of(60, stays=True).take(6, 10).data_ptr() != where  # too small
    assert spare == []
    of(50, stays=True).read().finish()
    kept.clear()
    assert spare == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_of_other_dtypes_none_stays(dtype, spare):
    of(50, dtype, stays=True).read().finish()
    assert spare == []


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
