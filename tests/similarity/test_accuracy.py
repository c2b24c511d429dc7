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

BACKENDS = {
    "tiles": partial(tiles.pair_lse, tiling=Tiling(height=64, width=128, keep_bytes=65536)),
    "whole": whole.pair_lse,
}


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


@pytest.mark.parametrize("gamma", [16.0, 64.0, 256.0, 1024.0])
@pytest.mark.parametrize("stage", [0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("form", ["pair", "class"])
@pytest.mark.parametrize("rule", [Circle, ConstantMargin])
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS.keys())
def test_error_budget(gamma, stage, form, rule, backend):
    assert_within_budget(*embeddings(stage), form, rule(0.25, gamma), backend)


@pytest.mark.parametrize("stage", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("form", ["pair", "class"])
def test_error_budget_in_tiles_of_the_default_size(stage, form):
    rows = embeddings(stage, num_classes=400, dim=512)
    assert_within_budget(*rows, form, Circle(0.25, 256.0), tiles.pair_lse)


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
            assert relative_error(value, reference) <= 1.1 * relative_error(twin, reference) + 2e-7


def test_stages_go_from_hopeless_to_converged():
    losses = []
    for stage in (0.0, 8.0):
        x, _, labels = embeddings(stage)
        lse = dense.pair_lse(Pairs(x.double(), None, labels, None), Circle(0.25, 256.0), normalize=True)
        losses.append(float(aggregate.softplus(*lse).mean()))
    assert losses[0] > 250
    assert losses[1] < 1e-6
