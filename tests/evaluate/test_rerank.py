import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import reid_from_distances, rerank

rerank_module = importlib.import_module("circlet.evaluate.rerank")
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "rerank.npz", allow_pickle=False)
LABELS = [torch.from_numpy(GOLDEN[name]) for name in ("query_pid", "query_cam", "gallery_pid", "gallery_cam")]
SETTINGS = {
    "k20_6_03": {"k1": 20, "k2": 6, "lambda_": 0.3},
    "k25_1_0": {"k1": 25, "k2": 1, "lambda_": 0.0},
    "k15_3_05": {"k1": 15, "k2": 3, "lambda_": 0.5},
}


def oracle(query, gallery, k1, k2, lambda_):
    """Sets and dense vectors, one image at a time, in float64."""
    images = torch.cat([query, gallery]).double()
    images = images / images.norm(dim=1, keepdim=True)
    similarity = (images @ images.T).tolist()
    n = len(images)
    d = [[max(0.0, 2 - 2 * s) for s in row] for row in similarity]
    d = [[x / max(row) for x in row] for row in d]
    order = [[i, *sorted((j for j in range(n) if j != i), key=lambda j, i=i: (d[i][j], j))] for i in range(n)]

    def mutual(i, k):
        return {g for g in order[i][: k + 1] if i in order[g][: k + 1]}

    V = np.zeros((n, n))
    for i in range(n):
        core = mutual(i, k1)
        joined = [mutual(g, round(k1 / 2)) for g in core]
        members = core.union(*(other for other in joined if len(other & core) > 2 / 3 * len(other)))
        for g in members:
            V[i, g] = math.exp(-d[i][g])
        V[i] /= V[i].sum()
    V = np.stack([V[order[i][:k2]].mean(axis=0) for i in range(n)])
    num_queries = len(query)
    result = np.empty((num_queries, n - num_queries))
    for i in range(num_queries):
        for g in range(num_queries, n):
            jaccard = 1 - np.minimum(V[i], V[g]).sum() / np.maximum(V[i], V[g]).sum()
            result[i, g - num_queries] = (1 - lambda_) * jaccard + lambda_ * d[i][g]
    return result


def random_set(seed, num_queries=9, num_items=40, dim=5):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(6, dim, generator=generator, dtype=torch.float64)
    labels = torch.randint(6, (num_queries + num_items,), generator=generator)
    noise = torch.randn(num_queries + num_items, dim, generator=generator, dtype=torch.float64)
    return (centres[labels] + 0.4 * noise).tensor_split([num_queries])


@pytest.mark.parametrize("tag", SETTINGS)
@pytest.mark.parametrize("block_size", [50, 2048])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden(tag, block_size, dtype):
    query, gallery = (torch.from_numpy(GOLDEN[name]).to(dtype) for name in ("query_emb", "gallery_emb"))
    found = rerank(query, gallery, block_size=block_size, **SETTINGS[tag])
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - GOLDEN[f"final_{tag}"]).max() < 5e-7  # the reference is in float32, too
    for convention, name in (("step", "fr"), ("trapezoid", "trap")):
        metrics = reid_from_distances(found, *LABELS, average_precision=convention)
        assert metrics.map == pytest.approx(float(GOLDEN[f"re_{tag}_{name}_map"]), abs=1e-12)
        assert np.allclose(metrics.cmc, GOLDEN[f"re_{tag}_{name}_cmc"], rtol=0, atol=1e-7)
    assert metrics.minp == pytest.approx(float(GOLDEN[f"re_{tag}_fr_minp"]), abs=1e-12)


def test_golden_defaults():
    query, gallery = (torch.from_numpy(GOLDEN[name]) for name in ("query_emb", "gallery_emb"))
    assert np.abs(rerank(query, gallery).numpy() - GOLDEN["final_k20_6_03"]).max() < 5e-7


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    k1=st.integers(1, 48),
    k2=st.integers(1, 49),
    lambda_=st.sampled_from([0.0, 0.3, 1.0]),
    block_size=st.sampled_from([1, 7, 32, 2048]),
)
def test_matches_oracle(seed, k1, k2, lambda_, block_size):
    query, gallery = random_set(seed)
    found = rerank(query, gallery, k1=k1, k2=k2, lambda_=lambda_, block_size=block_size)
    assert np.abs(found.numpy() - oracle(query, gallery, k1, k2, lambda_)).max() < 2e-6


@settings(max_examples=25)
@given(codes=st.lists(st.integers(0, 7), min_size=4, max_size=25), k1=st.integers(1, 3), k2=st.integers(1, 4))
def test_ties_and_copies(codes, k1, k2):
    # Rows of ±1/2 in four dimensions: exact products, so ties rank by index in both.
    points = torch.tensor([[0.5, *(0.5 if code >> bit & 1 else -0.5 for bit in range(3))] for code in codes])
    if len(set(codes)) == 1:
        points[0, 0] = -0.5  # (if all are equal, the distances scaled by their maximum are 0/0 in the oracle)
    found = rerank(points[:2], points[2:], k1=k1, k2=k2)
    assert np.abs(found.numpy() - oracle(points[:2], points[2:], k1, k2, 0.3)).max() < 2e-6


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16))
def test_invariances(seed):
    query, gallery = random_set(seed)
    expected = rerank(query, gallery, k1=6, k2=3)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(gallery), generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    assert torch.allclose(rerank(query, gallery[order], k1=6, k2=3), expected[:, order], atol=2e-6)
    assert torch.allclose(rerank(2 * query @ rotation, gallery @ rotation, k1=6, k2=3), expected, atol=2e-6)


def test_all_equal():
    found = rerank(torch.ones(2, 4), torch.ones(4, 4), k1=5, k2=1)
    assert torch.equal(found, torch.zeros(2, 4))


@pytest.mark.parametrize("seed", range(8))
def test_distances_are_within_0_and_1(seed):
    points = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))
    found = rerank(points, torch.cat([points, points[:10], -points]), k1=6, k2=1 + seed % 3, lambda_=0.0)
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_collapsed_embedding_takes_no_more_memory_than_a_block(monkeypatch):
    lengths = []

    def ranges(starts, counts):
        lengths.append(int(counts.sum()))
        return original(starts, counts)

    original = rerank_module._ranges
    monkeypatch.setattr(rerank_module, "_ranges", ranges)
    rerank_module._shared(collapsed := everything_in_one_column(300), 100, 300, block_size=32)
    assert len(collapsed.row) == 300
    assert sum(lengths) == 100 * 200
    assert max(lengths) <= 32 * 32 // 16 + 200


def everything_in_one_column(num_images):
    rows = torch.arange(num_images)
    return rerank_module._Encodings(rows, torch.zeros_like(rows), torch.ones(num_images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.ones(2)}, r"query: found shape \(2,\)"),
        ({"gallery": torch.ones(3, 5)}, "gallery: found dimension 5"),
        ({"k1": 5}, "k1: found 5, expected 1 to 4 for 5 images"),
        ({"k1": 0}, "k1: found 0"),
        ({"k2": 6}, "k2: found 6, expected 1 to 5"),
        ({"lambda_": 1.5}, "lambda_: found 1.5"),
        ({"block_size": 0}, "block_size: found 0"),
    ],
)
def test_errors(change, message):
    arguments = {"query": torch.ones(2, 2), "gallery": torch.ones(3, 2), "k1": 2, "k2": 1} | change
    with pytest.raises(ValueError, match=message):
        rerank(**arguments)
