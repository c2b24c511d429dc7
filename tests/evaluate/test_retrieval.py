import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import RetrievalMetrics, retrieval
from circlet.evaluate.retrieval import retrieval_by_query

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "retrieval.npz", allow_pickle=False)
KS = tuple(GOLDEN["ks"].tolist())


def golden(name):
    return torch.from_numpy(GOLDEN[name])


def oracle(embeddings, labels, ks, gallery=None, gallery_labels=None):
    """The definitions, one query and one item at a time, in Python floats."""

    def unit(vector):
        length = math.sqrt(sum(x * x for x in vector))
        return [x / length if length else 0.0 for x in vector]

    own = gallery is None
    queries = [unit(v) for v in embeddings.tolist()]
    items = queries if own else [unit(v) for v in gallery.tolist()]
    item_labels = list(labels if own else gallery_labels)
    recall, hits, r_precision, map_at_r, mrr = Counter(), Counter(), [], [], []
    for q, (query, label) in enumerate(zip(queries, labels, strict=True)):
        scored = [(-sum(a * b for a, b in zip(query, item, strict=True)), g) for g, item in enumerate(items)]
        rel = [item_labels[g] == label for _, g in sorted(s for s in scored if not (own and s[1] == q))]
        if not any(rel):
            continue
        R, first = sum(rel), rel.index(True) + 1
        recall.update(k for k in ks if first <= k)
        hits.update({k: sum(rel[:k]) for k in ks})
        r_precision.append(sum(rel[:R]) / R)
        map_at_r.append(sum(sum(rel[: i + 1]) / (i + 1) for i in range(R) if rel[i]) / R)
        mrr.append(1 / first)
    n, valid = len(queries), len(mrr)
    means = [sum(x) / valid if valid else math.nan for x in (r_precision, map_at_r, mrr)]
    precision = {k: hits[k] / k / valid if valid else math.nan for k in ks}
    recalls = {k: recall[k] / n for k in ks}
    return RetrievalMetrics(recalls, *means, num_queries=n, num_lone_queries=n - valid, precision_at_k=precision)


def same(found, expected, tolerance=1e-12):
    approx = {"rel": tolerance, "abs": tolerance, "nan_ok": True}
    assert found.recall_at_k == pytest.approx(expected.recall_at_k, **approx)
    for k, value in found.precision_at_k.items():
        assert value == pytest.approx(expected.precision_at_k[k], **approx), k
    for name in ("r_precision", "map_at_r", "mrr"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), **approx), name
    assert (found.num_queries, found.num_lone_queries) == (expected.num_queries, expected.num_lone_queries)


@st.composite
def exact_sets(draw, min_items=2, max_items=24):
    """Rows of ±1/2 in four dimensions: unit, every product exact, ties and copies everywhere."""
    n = draw(st.integers(min_items, max_items))
    codes = draw(st.lists(st.integers(0, 15), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(-2, 3), min_size=n, max_size=n))
    return torch.tensor([[0.5 if code >> bit & 1 else -0.5 for bit in range(4)] for code in codes]), labels


def random_set(seed, n=60, dim=8, num_classes=9, noise=1.0):
    """Float64 and no ties: safe from rounding."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (n,), generator=generator)
    centres = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    return centres[labels] + noise * torch.randn(n, dim, generator=generator, dtype=torch.float64), labels


# Reference numbers


@pytest.mark.parametrize("variant", ["a", "b"])
@pytest.mark.parametrize("block_size", [100, 256, 4096])
def test_golden_self_retrieval(variant, block_size):
    found = retrieval(golden(f"{variant}_emb"), golden(f"{variant}_label"), ks=KS, block_size=block_size)
    assert list(found.recall_at_k.values()) == pytest.approx(GOLDEN[f"{variant}_recall"].tolist(), abs=1e-12)
    assert found.r_precision == pytest.approx(float(GOLDEN[f"{variant}_pml_r_precision"]), abs=1e-12)
    assert found.map_at_r == pytest.approx(float(GOLDEN[f"{variant}_pml_mean_average_precision_at_r"]), abs=1e-12)
    # The reference forms reciprocal ranks in float32.
    assert found.mrr == pytest.approx(float(GOLDEN[f"{variant}_pml_mean_reciprocal_rank"]), abs=1e-6)
    valid = 1 - found.num_lone_queries / found.num_queries
    assert found.recall_at_k[1] / valid == pytest.approx(float(GOLDEN[f"{variant}_pml_precision_at_1"]), abs=1e-12)
    assert found.num_lone_queries == {"a": 0, "b": 30}[variant]


@pytest.mark.parametrize("block_size", [64, 288, 4096])
def test_golden_ties_rank_by_index(block_size):
    found = retrieval(golden("c_emb"), golden("c_label"), ks=KS, block_size=block_size)
    assert list(found.recall_at_k.values()) == pytest.approx(GOLDEN["c_recall_stable"].tolist(), abs=1e-12)


def test_golden_ties_against_oracle():
    embeddings, labels = golden("c_emb")[:150], golden("c_label")[:150].tolist()
    same(retrieval(embeddings, labels, ks=KS), oracle(embeddings, labels, KS))


@pytest.mark.parametrize("block_size", [40, 256, 4096])
def test_golden_gallery(block_size):
    names = ("d_query_emb", "d_query_label", "d_gallery_emb", "d_gallery_label")
    query, label, gallery, gallery_label = map(golden, names)
    found = retrieval(query, label, ks=KS, gallery=gallery, gallery_labels=gallery_label, block_size=block_size)
    assert found.r_precision == pytest.approx(float(GOLDEN["d_pml_r_precision"]), abs=1e-12)
    assert found.map_at_r == pytest.approx(float(GOLDEN["d_pml_mean_average_precision_at_r"]), abs=1e-12)
    assert found.mrr == pytest.approx(float(GOLDEN["d_pml_mean_reciprocal_rank"]), abs=1e-6)
    valid = int(GOLDEN["d_query_valid"].sum())
    assert found.num_lone_queries == len(query) - valid
    assert found.recall_at_k[1] * len(query) / valid == pytest.approx(float(GOLDEN["d_pml_precision_at_1"]), abs=1e-12)


def test_golden_in_shop():
    # In-Shop counts a query as a hit at K if fewer than K negatives are nearer; over the queries that have a match.
    names = ("d_query_emb", "d_query_label", "d_gallery_emb", "d_gallery_label")
    query, label, gallery, gallery_label = map(golden, names)
    ks = GOLDEN["d_inshop_ks"].tolist()
    found = retrieval(query, label, ks=ks, gallery=gallery, gallery_labels=gallery_label)
    valid = 1 - found.num_lone_queries / found.num_queries
    recall = [value / valid for value in found.recall_at_k.values()]
    assert recall == pytest.approx(GOLDEN["d_inshop_recall_valid"].tolist(), abs=1e-12)


# Against the oracle


@given(data=exact_sets(), block_size=st.integers(1, 40))
def test_matches_oracle_with_ties(data, block_size):
    embeddings, labels = data
    ks = range(1, len(labels))
    expected = oracle(embeddings, labels, ks)
    if math.isnan(expected.mrr):
        with pytest.raises(ValueError, match="queries without any match among the"):
            retrieval(embeddings, labels, ks=ks, precision_ks=ks, block_size=block_size)
        return
    same(retrieval(embeddings, labels, ks=ks, precision_ks=ks, block_size=block_size), expected)


@given(query=exact_sets(1, 12), gallery=exact_sets(1), block_size=st.integers(1, 40))
def test_gallery_matches_oracle_with_ties(query, gallery, block_size):
    ks = range(1, 1 + len(gallery[1]))
    expected = oracle(*query, ks, *gallery)
    given = {"gallery": gallery[0], "gallery_labels": gallery[1], "block_size": block_size}
    if math.isnan(expected.mrr):
        with pytest.raises(ValueError, match="queries without any match among the"):
            retrieval(*query, ks=ks, precision_ks=ks, **given)
        return
    same(retrieval(*query, ks=ks, precision_ks=ks, **given), expected)


@pytest.mark.parametrize("num_classes", [1, 3, 15, 50])
@pytest.mark.parametrize("block_size", [32, 256, 512])
def test_matches_oracle_without_ties(num_classes, block_size):
    embeddings, labels = random_set(num_classes, n=130, num_classes=num_classes, noise=2.0)
    ks = (1, 2, 17, 129)
    same(
        retrieval(embeddings, labels, ks=ks, precision_ks=ks, block_size=block_size),
        oracle(embeddings, labels.tolist(), ks),
    )


def test_first_hit_beyond_the_neighbours_kept():
    # Query 0 finds its match, 41, behind 40 strangers: the last of them tied with it. And 41 finds 0 last.
    angles = torch.tensor([0.0, *torch.linspace(0.1, 0.5, 39).tolist(), 1.0, 1.0, 1.0], dtype=torch.float64)
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    labels = [0, *range(1, 41), 0, 41]
    found = retrieval(embeddings, labels, ks=(40, 41, 42))
    assert found.num_lone_queries == 41
    assert found.recall_at_k == {40: 0.0, 41: 1 / 43, 42: 2 / 43}
    assert found.mrr == pytest.approx((1 / 41 + 1 / 42) / 2)


def test_ks_of_online_products():
    # K up to 1000 with few relevant items: beyond the neighbours kept.
    embeddings, labels = random_set(5, n=1010, num_classes=400, noise=4.0)
    ks = (1, 10, 100, 1000)
    similarities = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(embeddings).T
    order = similarities.fill_diagonal_(-torch.inf).sort(dim=1, descending=True).indices
    hits = labels[order] == labels[:, None]
    expected = {k: hits[:, :k].any(1).double().mean().item() for k in ks}
    assert retrieval(embeddings, labels, ks=ks).recall_at_k == pytest.approx(expected, abs=1e-12)
    assert len(set(expected.values())) == 4


# Query by query


@given(query=exact_sets(), gallery=st.one_of(st.none(), exact_sets(1)), block_size=st.integers(1, 40))
def test_by_query_is_the_oracle_of_one_query_at_a_time(query, gallery, block_size):
    embeddings, labels = query
    given = {} if gallery is None else {"gallery": gallery[0], "gallery_labels": gallery[1]}
    found = retrieval_by_query(embeddings, labels, **given, block_size=block_size)
    unit = torch.nn.functional.normalize(embeddings.double())
    items, item_labels = (
        (unit, labels) if gallery is None else (torch.nn.functional.normalize(gallery[0].double()), gallery[1])
    )
    for q, label in enumerate(labels):
        similarity = (items @ unit[q]).tolist()
        order = sorted((-s, g) for g, s in enumerate(similarity) if gallery is not None or g != q)
        rel = [item_labels[g] == label for _, g in order]
        R = sum(rel)
        assert bool(found.has_match[q]) == (R > 0)
        assert [found.recall_at(k)[q].item() for k in (1, 2, 5)] == [float(any(rel[:k])) for k in (1, 2, 5)]
        if R:
            assert found.rank[q] == rel.index(True) + 1
            assert found.r_precision[q].item() == pytest.approx(sum(rel[:R]) / R)
            precision = sum(sum(rel[: i + 1]) / (i + 1) for i in range(R) if rel[i]) / R
            assert found.map_at_r[q].item() == pytest.approx(precision)


@given(seed=st.integers(0, 2**16), num_classes=st.sampled_from([1, 4, 40]))
def test_means_over_the_queries_are_the_metrics(seed, num_classes):
    embeddings, labels = random_set(seed, num_classes=num_classes, noise=2.0)
    found, whole = retrieval_by_query(embeddings, labels), retrieval(embeddings, labels)
    kept = found.has_match
    assert whole.num_lone_queries == int((~kept).sum())
    assert {k: found.recall_at(k).mean().item() for k in whole.recall_at_k} == whole.recall_at_k
    for name in ("r_precision", "map_at_r"):
        assert getattr(found, name)[kept].mean().item() == getattr(whole, name)
    assert (1 / found.rank[kept].double()).mean().item() == pytest.approx(whole.mrr)


@given(query=exact_sets(), gallery=exact_sets(1), data=st.data(), block_size=st.integers(1, 40))
def test_a_query_passes_over_its_group_in_the_gallery(query, gallery, data, block_size):
    """As if the gallery were without them, one query at a time."""
    groups, gallery_groups = (
        data.draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels)))
        for labels in (query[1], gallery[1])
    )
    given = {"groups": groups, "gallery_groups": gallery_groups, "block_size": block_size}
    found = retrieval_by_query(*query, gallery=gallery[0], gallery_labels=gallery[1], **given)
    for q, group in enumerate(groups):
        kept = [g for g, other in enumerate(gallery_groups) if other != group]
        if not kept:
            assert not found.has_match[q]
            continue
        rest = {"gallery": gallery[0][kept], "gallery_labels": [gallery[1][g] for g in kept]}
        alone = retrieval_by_query(query[0][q : q + 1], query[1][q : q + 1], **rest)
        assert found.has_match[q] == alone.has_match[0]
        if alone.has_match[0]:
            assert found.rank[q] == alone.rank[0]
            assert found.map_at_r[q].item() == pytest.approx(alone.map_at_r[0].item(), rel=1e-12)  # another sum's order
            assert found.r_precision[q] == alone.r_precision[0]


def test_by_query_of_lone_items():
    found = retrieval_by_query(torch.eye(4), [0, 1, 2, 3])
    assert not found.has_match.any()
    assert found.recall_at(3).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="embeddings: found 1 item, expected at least 2"):
        retrieval_by_query(torch.ones(1, 2), [0])


# Invariances


@given(seed=st.integers(0, 2**16), block_size=st.sampled_from([5, 64, 160, 4096]))
@settings(max_examples=25)
def test_invariances(seed, block_size):
    embeddings, labels = random_set(seed)
    generator = torch.Generator().manual_seed(seed)
    expected = retrieval(embeddings, labels)
    order = torch.randperm(len(labels), generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))
    scale = 10 ** (6 * torch.rand(len(labels), 1, generator=generator, dtype=torch.float64) - 3)
    relabelled = torch.randperm(100, generator=generator)[labels] - 50
    same(retrieval(embeddings, labels, block_size=block_size), expected)
    same(retrieval(embeddings[order], labels[order], block_size=block_size), expected)
    same(retrieval(embeddings @ rotation, labels, block_size=block_size), expected)
    same(retrieval(embeddings * scale, relabelled, block_size=block_size), expected)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=10)
def test_exact_copies_do_not_hide_behind_self(seed):
    # Every image twice: each query finds its copy first; copies under other labels stand in its way instead.
    embeddings, labels = random_set(seed)
    twice = embeddings.repeat(2, 1)
    assert retrieval(twice, labels.repeat(2)).recall_at_k[1] == 1.0
    alone = torch.arange(len(twice))
    alone[0] = alone[1]  # two that have something to find
    assert retrieval(twice, alone, ks=(1,)).recall_at_k == {1: 0.0}


def test_self_retrieval_of_an_item_that_is_its_own_gallery_counts_itself():
    embeddings, labels = random_set(0)
    found = retrieval(embeddings, labels, gallery=embeddings, gallery_labels=labels)
    assert found.recall_at_k[1] == found.mrr == 1.0


# Types and degenerate input


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_is_computed_in_float32(dtype):
    embeddings, labels = random_set(1)
    rounded = embeddings.to(dtype)
    assert retrieval(rounded, labels) == retrieval(rounded.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert retrieval(rounded, labels) == retrieval(rounded.float(), labels)


def test_leaves_its_input_alone_and_needs_no_gradient():
    embeddings, labels = random_set(2)
    before = embeddings.clone()
    retrieval(embeddings.requires_grad_(), labels.to(torch.uint8))
    assert torch.equal(embeddings, before)
    assert embeddings.grad is None


def test_extreme_norms_do_not_overflow():
    embeddings, labels = random_set(3)
    expected = retrieval(embeddings.float(), labels)
    same(retrieval(embeddings.float() * 2.0**110, labels), expected)
    same(retrieval(embeddings.float() * 2.0**-110, labels), expected)


def test_all_lone():
    with pytest.raises(ValueError, match=r"labels: found 4 queries without any match among the 3 others, expected at"):
        retrieval(torch.eye(4), [0, 1, 2, 3], ks=[1, 3])
    with pytest.raises(ValueError, match=r"among the 2 gallery_labels, expected at least one item of a query's label$"):
        retrieval(torch.eye(2), [0, 1], ks=[1], gallery=torch.eye(2), gallery_labels=[2, 3])
    with pytest.raises(ValueError, match=r"expected at least one item of a query's label in another group"):
        retrieval(torch.eye(4), [0, 0, 1, 1], ks=[1], groups=[5, 5, 6, 6])


def test_zero_vectors_and_collapse():
    ks = (1, 2, 4, 8)
    same(retrieval(torch.zeros(9, 3), [0, 1, 2] * 3), oracle(torch.zeros(9, 3), [0, 1, 2] * 3, ks))
    same(retrieval(torch.ones(300, 4), [0, 1] * 150, block_size=128), oracle(torch.ones(300, 4), [0, 1] * 150, ks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["a", "b", "a"]}, "labels: found no numbers"),
        ({"labels": None}, "labels: found no numbers"),
        ({"embeddings": np.zeros((4, 2))}, "embeddings: found ndarray"),
        ({"embeddings": torch.ones(4, 2, dtype=torch.int64)}, "embeddings: found torch.int64"),
        ({"embeddings": torch.ones(4)}, r"embeddings: found shape \(4,\)"),
        ({"embeddings": torch.ones(0, 2), "labels": []}, r"embeddings: found shape \(0, 2\)"),
        ({"embeddings": torch.ones(4, 0)}, r"embeddings: found shape \(4, 0\)"),
        ({"embeddings": torch.ones(1, 2), "labels": [0]}, "embeddings: found 1 item"),
        ({"embeddings": torch.tensor([[1.0], [math.nan], [1.0], [math.inf]])}, "found 2 rows .* the first is row 1"),
        ({"labels": [0, 0, 1]}, r"labels: found shape \(3,\), expected \(4,\)"),
        ({"labels": [0.0, 0.0, 1.0, 1.0]}, "labels: found dtype torch.float32"),
        ({"labels": [True, True, False, False]}, "labels: found dtype torch.bool"),
        ({"ks": (1, 4)}, "ks: found 4, expected integers from 1 to 3"),
        ({"ks": (0,)}, "ks: found 0"),
        ({"ks": (1.5,)}, "ks: found 1.5"),
        ({"block_size": 0}, "block_size: found 0"),
        ({"gallery": torch.ones(3, 2)}, "gallery and gallery_labels: found one"),
        ({"gallery_labels": [0, 0, 1]}, "gallery and gallery_labels: found one"),
        ({"gallery_groups": [0, 0, 1, 1]}, "gallery_groups: found without a gallery and groups"),
        (
            {"gallery": torch.ones(3, 2), "gallery_labels": [0, 0, 1], "groups": [1, 2, 3, 4]},
            "gallery_groups: found without .*, or none with both, expected all three",
        ),
        (
            {"gallery": torch.ones(3, 2), "gallery_labels": [0, 0, 1], "groups": [1, 2, 3, 4], "gallery_groups": [1]},
            r"gallery_groups: found shape \(1,\), expected \(3,\)",
        ),
        ({"gallery": torch.ones(3, 5), "gallery_labels": [0, 0, 1]}, "gallery: found dimension 5"),
        ({"gallery": torch.ones(0, 2), "gallery_labels": []}, r"gallery: found shape \(0, 2\)"),
        ({"gallery": torch.ones(3, 2), "gallery_labels": [0, 0]}, r"gallery_labels: found shape \(2,\)"),
    ],
)
def test_errors(change, message):
    arguments = {"embeddings": torch.ones(4, 2), "labels": [0, 0, 1, 1], "ks": (1,)} | change
    with pytest.raises(ValueError, match=message):
        retrieval(arguments.pop("embeddings"), arguments.pop("labels"), **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees():
    embeddings, labels = golden("c_emb"), golden("c_label")
    same(retrieval(embeddings.cuda(), labels, ks=KS, block_size=288), retrieval(embeddings, labels, ks=KS))
