"""Values and gradients of the field's reference implementations (tests/golden/README.md says which)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from circlet import functional as F

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "losses.npz", allow_pickle=False)
CASES = ["c0", "c1", "c2", "c3", "c4", "c5"]
CLASS_CASES = ["c0", "c1", "c2", "c3", "c6"]


def load(name):
    return torch.from_numpy(GOLDEN[name])


def value_and_grads(function, case, *, class_level, num_valid=None, **settings):
    embeddings = load(f"{case}_emb").requires_grad_()
    leaves = [embeddings]
    if class_level:
        leaves.append(load(f"{case}_weight").requires_grad_())
    value = function(embeddings, load(f"{case}_label"), *leaves[1:], **settings)
    return value, torch.autograd.grad(value, leaves)


def valid_anchors(case):
    same = load(f"{case}_label")[:, None] == load(f"{case}_label")[None, :]
    return (same.sum(1) > 1) & (~same).any(1)


def assert_golden(name, value, grads, scale=1.0):
    torch.testing.assert_close(value * scale, load(f"{name}_value"), rtol=1e-8, atol=1e-10)
    for grad, suffix in zip(grads, ("grad", "gradw"), strict=False):
        expected = load(f"{name}_{suffix}")
        torch.testing.assert_close(grad * scale, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max() + 1e-30))


# The references divide by every anchor of the batch; circlet by the valid ones.
def share_of_valid(case):
    return valid_anchors(case).double().mean()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("name", "margin", "gamma"),
    [
        ("pml_circle_m40_g80_mean", 0.4, 80.0),
        ("pml_circle_m25_g256_mean", 0.25, 256.0),
        ("fastreid_circle_m25_g128", 0.25, 128.0),
        ("fastreid_circle_m40_g80", 0.4, 80.0),
        ("fastreid_circle_m25_g256", 0.25, 256.0),
    ],
)
def test_pairwise_circle(case, name, margin, gamma):
    value, grads = value_and_grads(F.circle_loss, case, class_level=False, margin=margin, gamma=gamma)
    assert_golden(f"{case}_{name}", value, grads, share_of_valid(case))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "margin", "gamma"), [("m40_g80", 0.4, 80.0), ("m25_g256", 0.25, 256.0)])
def test_pairwise_circle_of_each_anchor(case, name, margin, gamma):
    embeddings, labels = load(f"{case}_emb"), load(f"{case}_label")
    value = F.circle_loss(embeddings, labels, margin=margin, gamma=gamma, reduction="none")
    torch.testing.assert_close(value, load(f"{case}_pml_circle_{name}_elements"), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_multi_similarity_of_each_valid_anchor(case):
    value = F.multi_similarity_loss(load(f"{case}_emb"), load(f"{case}_label"), reduction="none")
    expected = torch.where(valid_anchors(case), load(f"{case}_pml_ms_elements"), 0.0)
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("case", ["c0", "c2", "c3"])
def test_multi_similarity_where_all_anchors_are_valid(case):
    assert_golden(
        f"{case}_pml_ms_mean", *value_and_grads(F.multi_similarity_loss, case, class_level=False, alpha=2.0, beta=50.0)
    )


@pytest.mark.parametrize("case", CASES)
def test_batch_hard_triplet_on_cosine(case):
    value, grads = value_and_grads(F.triplet_loss, case, class_level=False, margin=0.3)
    assert_golden(f"{case}_pml_triplet_cos_hard_m30_mean", value, grads)


@pytest.mark.parametrize("case", ["c0", "c2", "c3"])
def test_pairwise_cosface_where_all_anchors_are_valid(case):
    value, grads = value_and_grads(F.unified_loss, case, class_level=False, margin=0.25, gamma=128.0)
    assert_golden(f"{case}_fastreid_paircosface_m25_g128", value, grads)


@pytest.mark.parametrize("case", CLASS_CASES)
@pytest.mark.parametrize(
    ("name", "function", "settings"),
    [
        ("fastreid_circlesoftmax_m25_s256_ce", F.circle_loss, {"margin": 0.25, "gamma": 256.0}),
        ("fastreid_circlesoftmax_m40_s80_ce", F.circle_loss, {"margin": 0.4, "gamma": 80.0}),
        ("fastreid_circlesoftmax_m35_s64_ce", F.circle_loss, {"margin": 0.35, "gamma": 64.0}),
        ("likece_circle_m25_g256", F.circle_loss, {"margin": 0.25, "gamma": 256.0}),
        ("likece_circle_m40_g80", F.circle_loss, {"margin": 0.4, "gamma": 80.0}),
        ("fastreid_cossoftmax_m35_s64_ce", F.am_softmax_loss, {"margin": 0.35, "gamma": 64.0}),
        ("pml_cosface_m35_s64", F.am_softmax_loss, {"margin": 0.35, "gamma": 64.0}),
        ("pml_arcface_m286deg_s64", F.arcface_loss, {"margin": float(np.radians(28.6)), "gamma": 64.0}),
        ("pml_normsoftmax_t05", F.normface_loss, {"gamma": 20.0}),
    ],
)
def test_class_level(case, name, function, settings):
    value, grads = value_and_grads(function, case, class_level=True, **settings)
    assert_golden(f"{case}_{name}", value, grads)


@pytest.mark.parametrize("case", ["c0", "c1", "c2", "c3"])  # c6 goes beyond pi, which fast-reid does not correct
def test_arcface_of_fast_reid(case):
    value, grads = value_and_grads(F.arcface_loss, case, class_level=True, margin=0.5, gamma=64.0)
    assert_golden(f"{case}_fastreid_arcsoftmax_m50_s64_ce", value, grads)
