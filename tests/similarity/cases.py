"""Rules, forms and awkward sizes for the backends, and one way to run a backend forward and backward."""

import torch

from circlet.rules import AngularMargin, Circle, ConstantMargin, TwoScales
from circlet.similarity import dense, tiles, whole
from circlet.similarity.blocks import Tiling
from circlet.similarity.pairs import Pairs

RULES = {
    "circle": Circle(),
    "circle_retrieval": Circle(0.4, 80.0),
    "constant": ConstantMargin(),
    "angular": AngularMargin(),
    "two_scales": TwoScales(),
}
TINY = Tiling(height=8, width=16, keep_bytes=1600)  # kept, and not kept, within one batch
SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 37]
NUM_REFERENCES = 53
FORMS = ["pair", "class", "cross", "mask", "own_mask"]


def tiled(pairs, rule, *, normalize=True, statistic="logsumexp", tiling=TINY):
    return tiles.pair_lse(pairs, rule, normalize=normalize, statistic=statistic, tiling=tiling)


def dense_lse(pairs, rule, *, normalize=True, statistic="logsumexp"):
    return dense.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)


def whole_lse(pairs, rule, *, normalize=True):
    return whole.pair_lse(pairs, rule, normalize=normalize)


def operands(form, batch, *, dim=12, seed=0, dtype=torch.float64):
    """Leaves (anchors, and references where the form has them), and what makes Pairs of them."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator}
    x = torch.randn(batch, dim, dtype=torch.float64, **draw).to(dtype)
    y = torch.randn(NUM_REFERENCES, dim, dtype=torch.float64, **draw).to(dtype)
    labels = torch.randint(-3, 4, (batch,), **draw)
    reference_labels = torch.randint(-3, 6, (NUM_REFERENCES,), **draw)
    if form == "pair":
        return [x], lambda x: Pairs(x, None, labels, None)
    if form == "class":
        return [x, y], lambda x, y: Pairs(x, y, labels + 3, torch.arange(len(y)))
    if form == "cross":
        return [x, y], lambda x, y: Pairs(x, y, labels, reference_labels)
    mask = torch.rand(batch, NUM_REFERENCES if form == "mask" else batch, **draw) < 0.3
    if form == "mask":
        return [x, y], lambda x, y: Pairs(x, y, None, None, mask)
    return [x], lambda x: Pairs(x, None, None, None, mask)


def arriving(batch, dtype, seed=1):
    """Gradients of any sign and size that may arrive at the two statistics, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    grads = torch.randn(2, batch, generator=generator, dtype=torch.float64)
    grads[:, ::5] = 0
    return grads.to(torch.float64 if dtype == torch.float64 else torch.float32)


def run(backend, leaves, make, rule, grads=None, **settings):
    """Statistics, and gradients of the leaves that require one."""
    leaves = [leaf.detach().requires_grad_(leaf.requires_grad) for leaf in leaves]
    if not any(leaf.requires_grad for leaf in leaves):
        leaves = [leaf.requires_grad_() for leaf in leaves]
    lse = backend(make(*leaves), rule, **settings)
    if grads is None:
        grads = arriving(len(lse.pos), lse.pos.dtype)
    finite = [torch.where(value == -torch.inf, 0.0, value) for value in lse]
    total = sum((value * grad).sum() for value, grad in zip(finite, grads, strict=True))
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    gradients = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, gradients, strict=True)]
    return [value.detach() for value in lse], gradients


def assert_same(found, expected, rtol=1e-10):
    """Statistics and gradients agree; gradients on the scale of the largest."""
    for value, reference in zip(found[0], expected[0], strict=True):
        assert value.dtype == reference.dtype
        torch.testing.assert_close(value, reference, rtol=rtol, atol=rtol)
    for value, reference in zip(found[1], expected[1], strict=True):
        assert value.dtype == reference.dtype
        scale = float(reference.abs().max()) if reference.numel() else 0.0
        torch.testing.assert_close(value, reference, rtol=rtol, atol=rtol * max(scale, 1.0))


def relative_error(found, exact):
    return float((found.double() - exact).norm() / exact.norm().clamp(min=1e-300))
