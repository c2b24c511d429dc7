"""Values and gradients of pytorch-metric-learning's losses beyond the paper (tests/golden/README.md).

It reduces over pairs, triplets or terms above 0 where circlet takes the mean over anchors; each test rebuilds its
reduction from the losses of the anchors.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import circlet

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "losses_more.npz", allow_pickle=False)
every_case = pytest.mark.parametrize("case", ["c0", "c1", "c2"])


def load(name):
    return torch.from_numpy(GOLDEN[name])


def inputs(case, weights=None):
    rows = [load(f"{case}_emb").requires_grad_()]
    if weights is not None:
        rows.append(load(f"{case}_{weights}").requires_grad_())
    return rows, load(f"{case}_label")


def assert_golden(name, value, leaves):
    torch.testing.assert_close(value, load(name), rtol=1e-8, atol=1e-10)
    for leaf, suffix in zip(leaves, ("grad", "wgrad"), strict=False):
        (grad,) = torch.autograd.grad(value, leaf, retain_graph=True)
        expected = load(f"{name}_{suffix}")
        torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


def pairs_of(labels):
    """Positive and negative pairs within the batch, (B, B) bool."""
    same = labels[:, None] == labels[None, :]
    return same & ~torch.eye(len(labels), dtype=torch.bool), ~same


def cosine(rows):
    unit = torch.nn.functional.normalize(rows)
    return unit @ unit.T


@every_case
@pytest.mark.parametrize(
    ("name", "loss"),
    [("proxy_anchor_m01_a32", circlet.ProxyAnchorLoss()), ("proxy_nca_s10", circlet.ProxyNCALoss(gamma=20.0))],
)
def test_proxies(case, name, loss):
    leaves, labels = inputs(case, "class_weights")
    assert_golden(f"{case}_{name}", loss(leaves[0], labels, leaves[1]), leaves)


@every_case
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("soft_triple", circlet.SoftTripleLoss(gamma=20.0, temperature=0.1, margin=0.01)),
        ("subcenter_arcface_s64_m286", circlet.SubCenterArcFaceLoss(margin=float(np.radians(28.6)), gamma=64.0)),
    ],
)
def test_centres(case, name, loss):
    leaves, labels = inputs(case, "subcenter_weights")
    centers = int(load(f"{case}_num_subcenters"))
    classes = torch.arange(len(leaves[1]) // centers).repeat_interleave(centers)
    assert_golden(f"{case}_{name}", loss(leaves[0], labels, leaves[1], classes), leaves)


@every_case
def test_p2s_grad(case):
    """There weights are scaled to length 1 first (to 2e-8), without gradient, which is then that of inner products."""
    (embeddings, weights), labels = inputs(case, "class_weights")
    value = circlet.P2SGradLoss()(embeddings, labels, weights) / len(weights)
    torch.testing.assert_close(value, load(f"{case}_p2s"), rtol=1e-7, atol=0)
    grads = torch.autograd.grad(value, (embeddings, weights))
    unit = torch.nn.functional.normalize(weights.detach())
    of_products = load(f"{case}_p2s_wgrad")
    across = of_products - (of_products * unit).sum(1, keepdim=True) * unit
    of_weights = across / weights.detach().norm(dim=1, keepdim=True)
    for grad, expected in zip(grads, (load(f"{case}_p2s_grad"), of_weights), strict=True):
        torch.testing.assert_close(grad, expected, rtol=0, atol=1e-7 * float(expected.abs().max()))


@every_case
@pytest.mark.parametrize(
    ("name", "loss"),
    [("supcon_t01", circlet.SupConLoss(temperature=0.1)), ("nca_s10", circlet.NCALoss(gamma=10.0))],
)
def test_pair_level(case, name, loss):
    leaves, labels = inputs(case)
    assert_golden(f"{case}_{name}", loss(leaves[0], labels), leaves)


@every_case
def test_nt_xent_is_the_mean_over_positive_pairs(case):
    leaves, labels = inputs(case)
    number = pairs_of(labels)[0].sum(1)
    each = circlet.NTXentLoss(temperature=0.07, reduction="none")(leaves[0], labels)
    assert_golden(f"{case}_ntxent_t007", (each * number).sum() / number.sum(), leaves)


@every_case
def test_contrastive_is_the_mean_over_active_pairs(case):
    leaves, labels = inputs(case)
    positive, negative = pairs_of(labels)
    s = cosine(leaves[0].detach())
    # A margin out of reach leaves one side alone.
    pulled = circlet.ContrastiveLoss(positive_margin=1.0, negative_margin=2.0, reduction="none")(leaves[0], labels)
    pushed = circlet.ContrastiveLoss(positive_margin=-2.0, negative_margin=0.5, reduction="none")(leaves[0], labels)
    value = 0.0
    for losses, active in ((pulled, positive & (s < 1.0)), (pushed, negative & (s > 0.5))):
        value = value + (losses * active.sum(1)).sum() / active.sum().clamp(min=1)
    assert_golden(f"{case}_contrastive_cos_p1_n05", value, leaves)
    both = circlet.ContrastiveLoss(reduction="none")(leaves[0], labels)
    torch.testing.assert_close(both, pulled + pushed)


@every_case
def test_margin_loss_is_the_mean_over_active_pairs_of_triplets(case):
    leaves, labels = inputs(case)
    positive, negative = pairs_of(labels)
    unit = torch.nn.functional.normalize(leaves[0].detach())
    distance = (unit[:, None] - unit[None, :]).norm(dim=2)
    pulled, pushed = positive & (distance > 1.0), negative & (distance < 1.4)
    each = circlet.MarginLoss(reduction="none")
    # A rule is elementwise: weights of pairs are those of anchors times their counts, found one side at a time.
    value, number = 0.0, 0
    for active, others, side in ((pulled, negative, 0), (pushed, positive, 1)):
        counts = active.sum(1) * others.sum(1)  # each pair is met once with every pair of the other side
        value = value + (one_side(each, leaves[0], labels, side) * counts).sum()
        number = number + counts.sum()
    assert_golden(f"{case}_margin_b12_a02", value / number, leaves)


def one_side(loss, embeddings, labels, side):
    """Losses of the anchors with references that are all positives or all negatives of theirs."""
    kept = pairs_of(labels)[side]
    losses = [
        loss(embeddings[i : i + 1], labels[i : i + 1], embeddings[kept[i]], labels[kept[i]])
        if kept[i].any()
        else embeddings.new_zeros(1)
        for i in range(len(labels))
    ]
    return torch.cat(losses)
