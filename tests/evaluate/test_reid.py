import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import reid, reid_from_distances

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "reid.npz", allow_pickle=False)
NAMES = ("query_emb", "query_pid", "query_cam", "gallery_emb", "gallery_pid", "gallery_cam")


def golden(variant):
    return [torch.from_numpy(GOLDEN[f"{variant}_{name}"]) for name in NAMES]


def oracle(distances, query_ids, query_cams, gallery_ids, gallery_cams, convention, max_rank=50):
    """The definitions, one query and one gallery entry at a time."""
    rows, kept_size = [], sum(g != -1 for g in gallery_ids)
    for distance, q_id, q_cam in zip(distances, query_ids, query_cams, strict=True):
        ranked = sorted(range(len(gallery_ids)), key=lambda g, distance=distance: (distance[g], g))
        ranked = [
            g for g in ranked if gallery_ids[g] != -1 and not (gallery_ids[g] == q_id and gallery_cams[g] == q_cam)
        ]
        hits = [gallery_ids[g] == q_id for g in ranked]
        n = sum(hits)
        if n == 0:
            rows.append((math.nan, math.nan, [0] * kept_size))
            continue
        ap, found, old = 0.0, 0, 1.0
        for place, hit in enumerate(hits, start=1):
            found += hit
            if hit:
                ap += found / place / n if convention == "step" else (old + found / place) / 2 / n
            old = found / place
        first, last = hits.index(True), len(hits) - 1 - hits[::-1].index(True)
        rows.append((ap, n / (last + 1), [int(first <= place) for place in range(kept_size)]))
    valid = [row for row in rows if not math.isnan(row[0])]
    divisor = len(valid) if convention == "step" else len(rows)

    def mean(values):
        return sum(values) / divisor if divisor else math.nan

    cmc = [mean(row[2][place] for row in valid) for place in range(min(max_rank, kept_size))]
    return cmc, mean(r[0] for r in valid), mean(r[1] for r in valid), [row[0] for row in rows]


def same(found, expected, tolerance=1e-12):
    approx = {"rel": tolerance, "abs": tolerance, "nan_ok": True}
    cmc, mean_ap, minp, average_precisions = expected
    assert found.cmc.tolist() == pytest.approx(cmc, **approx)
    assert found.map == pytest.approx(mean_ap, **approx)
    assert found.minp == pytest.approx(minp, **approx)
    assert found.average_precisions.tolist() == pytest.approx(average_precisions, **approx)


def equal(found, expected):
    same(found, (expected.cmc.tolist(), expected.map, expected.minp, expected.average_precisions.tolist()))


def random_set(seed, num_queries=25, num_items=80, dim=6):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high, n):
        return torch.randint(low, high, (n,), generator=generator)

    query_ids, gallery_ids = draw(1, 9, num_queries), draw(-1, 9, num_items)
    centres = torch.randn(10, dim, generator=generator, dtype=torch.float64)
    query = centres[query_ids] + torch.randn(num_queries, dim, generator=generator, dtype=torch.float64)
    gallery = centres[gallery_ids] + torch.randn(num_items, dim, generator=generator, dtype=torch.float64)
    return query, query_ids, draw(0, 3, num_queries), gallery, gallery_ids, draw(0, 3, num_items)


# Reference numbers


@pytest.mark.parametrize(("variant", "tag"), [("a", "fr"), ("b", "fr_stable"), ("c", "fr_stable"), ("d", "fr")])
@pytest.mark.parametrize("block_size", [64, 300, 2048])
def test_golden_step(variant, tag, block_size):
    query, *labels, gallery, gallery_ids, gallery_cams = golden(variant)
    labels += [gallery_ids, gallery_cams]
    distances = torch.from_numpy(GOLDEN[f"{variant}_dist"])
    for found in (
        reid(query, *labels[:2], gallery, *labels[2:], block_size=block_size),
        reid_from_distances(distances, *labels, block_size=block_size),
    ):
        valid = ~found.average_precisions.isnan()
        assert np.allclose(found.cmc, GOLDEN[f"{variant}_{tag}_cmc"], rtol=0, atol=1e-7)  # stored in float32
        assert found.cmc.shape == GOLDEN[f"{variant}_{tag}_cmc"].shape
        assert np.allclose(found.average_precisions[valid], GOLDEN[f"{variant}_{tag}_ap"], rtol=0, atol=1e-12)
        assert found.map == pytest.approx(float(GOLDEN[f"{variant}_{tag}_map"]), abs=1e-12)
        assert found.minp == pytest.approx(float(GOLDEN[f"{variant}_{tag}_minp"]), abs=1e-12)
        if variant != "d":
            assert np.array_equal(valid, GOLDEN[f"{variant}_query_valid"])
        assert (found.num_queries, found.num_valid_queries) == (len(query), valid.sum())


@pytest.mark.parametrize(("variant", "tag"), [("a", "trap"), ("b", "trap_stable"), ("c", "trap_stable")])
def test_golden_trapezoid(variant, tag):
    found = reid(*golden(variant), average_precision="trapezoid")
    assert np.allclose(found.cmc, GOLDEN[f"{variant}_{tag}_cmc"], rtol=0, atol=1e-7)
    assert np.allclose(found.average_precisions.nan_to_num(0), GOLDEN[f"{variant}_{tag}_ap"], rtol=0, atol=1e-12)
    assert found.map == pytest.approx(float(GOLDEN[f"{variant}_{tag}_map"]), abs=1e-12)
    assert found.average_precision == "trapezoid"


def test_golden_junk_left_in_is_another_number():
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = golden("a")
    no_junk = torch.where(gallery_ids == -1, -2, gallery_ids)
    found = reid(query, query_ids, query_cams, gallery, no_junk, gallery_cams)
    assert found.map == pytest.approx(float(GOLDEN["a_fr_nodrop_map"]), abs=1e-12)
    assert found.map != pytest.approx(float(GOLDEN["a_fr_map"]), abs=1e-3)


# Against the oracle


@given(
    data=st.data(),
    num_queries=st.integers(1, 8),
    num_items=st.integers(1, 30),
    convention=st.sampled_from(["step", "trapezoid"]),
    max_rank=st.integers(1, 40),
    block_size=st.integers(1, 20),
)
def test_matches_oracle_with_ties(data, num_queries, num_items, convention, max_rank, block_size):
    def integers(low, high, n):
        return data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n))

    labels = (
        integers(0, 3, num_queries),
        integers(0, 2, num_queries),
        [*integers(-1, 3, num_items - 1), 2],
        integers(0, 2, num_items),
    )
    distances = [[x / 2 for x in integers(-2, 3, num_items)] for _ in range(num_queries)]
    options = {"average_precision": convention, "max_rank": max_rank, "block_size": block_size}
    expected = oracle(distances, *labels, convention, max_rank)
    if all(math.isnan(ap) for ap in expected[3]):
        with pytest.raises(ValueError, match="without a gallery entry of the same id under another camera"):
            reid_from_distances(torch.tensor(distances), *labels, **options)
        return
    same(reid_from_distances(torch.tensor(distances), *labels, **options), expected)


@pytest.mark.parametrize("convention", ["step", "trapezoid"])
def test_features_match_oracle(convention):
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = random_set(0)
    distances = -(query / query.norm(dim=1, keepdim=True)) @ (gallery / gallery.norm(dim=1, keepdim=True)).T
    labels = [x.tolist() for x in (query_ids, query_cams, gallery_ids, gallery_cams)]
    found = reid(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams, average_precision=convention)
    same(found, oracle(distances.tolist(), *labels, convention))


# Invariances


@settings(max_examples=25)
@given(seed=st.integers(0, 2**16), block_size=st.sampled_from([3, 50, 4096]))
def test_invariances(seed, block_size):
    query, query_ids, query_cams, gallery, gallery_ids, gallery_cams = random_set(seed)
    expected = reid(query, query_ids, query_cams, gallery, gallery_ids, gallery_cams)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(gallery), generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    names = torch.cat([torch.randperm(50, generator=generator)[:9], torch.tensor([-1])])  # names[-1] stays junk
    options = {"block_size": block_size}
    equal(
        reid(query, query_ids, query_cams, gallery[order], gallery_ids[order], gallery_cams[order], **options), expected
    )
    equal(reid(3 * query @ rotation, query_ids, query_cams, gallery @ rotation, gallery_ids, gallery_cams), expected)
    equal(reid(query, names[query_ids], 7 - query_cams, gallery, names[gallery_ids], 7 - gallery_cams), expected)
    kept = gallery_ids != -1
    equal(reid(query, query_ids, query_cams, gallery[kept], gallery_ids[kept], gallery_cams[kept]), expected)


def test_duplicate_queries_change_no_mean():
    query, query_ids, query_cams, *gallery = random_set(1)
    found = reid(query.repeat(2, 1), query_ids.repeat(2), query_cams.repeat(2), *gallery)
    expected = reid(query, query_ids, query_cams, *gallery)
    assert (found.map, found.minp) == pytest.approx((expected.map, expected.minp), abs=1e-12)


# Degenerate and bad input


def test_no_query_with_a_positive():
    arguments = torch.eye(3), [1, 2, 3], [0, 0, 0], torch.eye(3), [1, 2, 0], [0, 0, 0]
    for convention in ("step", "trapezoid"):
        with pytest.raises(ValueError, match=r"query_ids, query_cams: found 3 queries \(1 cameras in all\) without a"):
            reid(*arguments, average_precision=convention)


def test_leaves_its_input_alone():
    distances = torch.rand(3, 5)
    before = distances.clone()
    reid_from_distances(distances, [1, 2, 3], [0, 0, 0], np.array([1, 2, 3, 1, 1]), [0, 0, 0, 1, 1])
    assert torch.equal(distances, before)


def test_any_max_rank_gives_the_whole_curve():
    points = torch.eye(3)
    found = reid(points, [1, 2, 3], [0, 0, 0], points, [1, 2, 3], [1, 1, 1], max_rank=2**62)
    assert found.cmc.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.ones(2)}, r"query: found shape \(2,\)"),
        ({"gallery": torch.tensor([[1.0, math.nan]] * 3)}, "gallery: found 3 rows with nan"),
        ({"gallery": torch.ones(3, 5)}, "gallery: found dimension 5"),
        ({"query_ids": [1]}, r"query_ids: found shape \(1,\), expected \(2,\)"),
        ({"query_cams": [1.0, 2.0]}, "query_cams: found dtype torch.float32"),
        ({"gallery_ids": [1, 2]}, r"gallery_ids: found shape \(2,\), expected \(3,\)"),
        ({"gallery_ids": [-1, -1, -1]}, "gallery_ids: found 3 times -1"),
        ({"gallery_cams": [1]}, r"gallery_cams: found shape \(1,\)"),
        ({"average_precision": "matlab"}, "average_precision: found 'matlab'"),
        ({"max_rank": 0}, "max_rank: found 0"),
        ({"block_size": 0}, "block_size: found 0"),
    ],
)
def test_errors(change, message):
    arguments = {
        "query": torch.ones(2, 2),
        "query_ids": [1, 2],
        "query_cams": [0, 0],
        "gallery": torch.ones(3, 2),
        "gallery_ids": [1, 2, 1],
        "gallery_cams": [1, 1, 1],
    }
    with pytest.raises(ValueError, match=message):
        reid(**(arguments | change))


def test_errors_of_distances():
    with pytest.raises(ValueError, match=r"gallery_ids: found shape \(2,\), expected \(3,\)"):
        reid_from_distances(torch.ones(1, 3), [1], [0], [1, 2], [0, 0])
    with pytest.raises(ValueError, match="distances: found 1 rows with nan"):
        reid_from_distances(torch.tensor([[1.0, math.nan]]), [1], [0], [1, 2], [0, 0])
