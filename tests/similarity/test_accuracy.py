"""Error budget: in fp32 no backend may err more against fp64 than the dense twin does, at any stage of training."""

from functools import partial

import pytest
import torch

from circlet import aggregate
from circlet.rules import Circle, ConstantMargin
from circlet.similarity import dense, tiles, whole
from circlet.similarity.blocks import Tiling
from circlet.similarity.pairs import Pairs
from tests.similarity.cases import relative_error

IN_TILES = partial(tiles.pair_lse, tiling=Tiling(height=64, width=128, keep_bytes=65536))
WITHOUT = "_without_kernels"  # as where there is no C compiler
BACKENDS = {"tiles": IN_TILES, f"tiles{WITHOUT}": IN_TILES, "whole": whole.pair_lse, f"whole{WITHOUT}": whole.pair_lse}


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """A backend, with and without kernels."""
    if request.param.endswith(WITHOUT):
        monkeypatch.setattr("circlet.similarity.native.USE_NATIVE", False)
    return BACKENDS[request.param]


def embeddings(stage, num_classes=75, per_class=4, dim=96):
    """From hopeless (stage 0: classes are scattered, and alike) over random (1) to separated (2 and more)."""
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    centres = torch.linalg.qr(torch.randn(dim, num_classes, **draw)).Q.T
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    noise = torch.nn.functional.normalize(torch.randn(len(labels), dim, **draw))
    together = torch.nn.functional.normalize(torch.randn(1, dim, **draw)) * max(0.0, 2.0 - 2.0 * stage)
    x = centres[labels] * stage + noise + together * torch.where(torch.arange(len(labels)) % 2 == 0, 1, -1)[:, None]
    return x.float(), centres.float(), labels


def loss_and_gradients(backend, leaves, make, rule, **settings):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    lse = backend(make(*leaves), rule, normalize=True, **settings)
    loss = aggregate.reduce(aggregate.softplus(lse.pos, lse.neg), lse.valid, "mean")
    return loss, torch.autograd.grad(loss, leaves)


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [16.0, 64.0, 256.0, 1024.0])
@pytest.mark.parametrize("stage", [0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("form", ["pair", "class"])
@pytest.mark.parametrize("rule", [Circle, ConstantMargin])
def test_error_budget(gamma, stage, form, rule, backend):
    assert_within_budget(*embeddings(stage), form, rule(0.25, gamma), backend)


@pytest.mark.parametrize("form", ["pair", "class"])
@pytest.mark.parametrize("keep_bytes", [0, 2000])
def test_probabilities_sum_to_one(form, keep_bytes, monkeypatch):
    """e^(e_ij - lse_i) takes the bits of s_ij that lse_i has summed, else it would be off by gamma times a last bit.

    On any processor: the last bits of the products depend on the place in the tile here, as on some, but much more so.
    With logits gamma x_i . y_j, all negative, and one gradient arriving, at the log-sum-exp of i, the gradient of the
    references is gamma p_ij x_i: its sum over j shows that of p_ij.
    """
    mm = torch.mm

    def uneven_mm(a, b, *, out):
        product = mm(a, b, out=out)
        row, column = (torch.arange(size) for size in product.shape)
        return product.mul_(1 + (7 * row[:, None] + 3 * column) % 5 * 2.0**-22)

    monkeypatch.setattr(torch, "mm", uneven_mm)
    gamma, labels = 1000.0, torch.arange(37)
    x, y = torch.nn.functional.normalize(torch.randn(2, 37, 40, generator=torch.Generator().manual_seed(0)), dim=2)
    leaves = [leaf.requires_grad_() for leaf in ([x] if form == "pair" else [x, y])]
    pairs = Pairs(x, None, labels, None) if form == "pair" else Pairs(x, y, labels, labels + 37)
    tiling = Tiling(height=16, width=24, keep_bytes=keep_bytes)
    for anchor in (0, 18, 36):
        lse = tiles.pair_lse(pairs, ConstantMargin(0.0, gamma), normalize=False, tiling=tiling)
        (grad,) = torch.autograd.grad(lse.neg[anchor], leaves[-1:])
        if form == "pair":
            grad[anchor] = 0  # its own, as an anchor: gamma sum_j p_ij x_j
        torch.testing.assert_close(grad.sum(0) / gamma, x[anchor], rtol=0, atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("form", ["pair", "class"])
def test_error_budget_in_tiles_of_the_default_size(stage, form):
    rows = embeddings(stage, num_classes=400, dim=512)
    assert_within_budget(*rows, form, Circle(0.25, 256.0), tiles.pair_lse)


# The batch against itself is one product (G + G^T) X here, but two, G X + G^T X, in the dense twin, whose rounding
# errors are of one size each and independent: 2 e against sqrt(2) e where a processor's product sums a row in one go
# (seen with AVX-512 on Sapphire Rapids: 1.32 times the twin's error, in fp64 sums .46 times).
ONE_PRODUCT_FOR_TWO = 2**0.5


def assert_within_budget(x, centres, labels, form, rule, backend):
    leaves = [x] if form == "pair" else [x, centres]
    reference_labels = None if form == "pair" else torch.arange(len(centres))

    def make(x, y=None):
        return Pairs(x, y, labels, reference_labels)

    exact_loss, exact = loss_and_gradients(dense.pair_lse, [leaf.double() for leaf in leaves], make, rule)
    dense_loss, naive = loss_and_gradients(dense.pair_lse, leaves, make, rule)
    loss, found = loss_and_gradients(backend, leaves, make, rule)
    assert abs(loss - exact_loss) <= abs(dense_loss - exact_loss) + 1e-6 * exact_loss + 1e-30
    for value, twin, reference in zip(found, naive, exact, strict=True):
        if reference.norm() > 1e-30:
            factor = 1.1 * (ONE_PRODUCT_FOR_TWO if form == "pair" else 1.0)
            assert relative_error(value, reference) <= factor * relative_error(twin, reference) + 2e-7


def test_stages_go_from_hopeless_to_converged():
    losses = []
    for stage in (0.0, 8.0):
        x, _, labels = embeddings(stage)
        lse = dense.pair_lse(Pairs(x.double(), None, labels, None), Circle(0.25, 256.0), normalize=True)
        losses.append(float(aggregate.softplus(*lse).mean()))
    assert losses[0] > 250
    assert losses[1] < 1e-6
