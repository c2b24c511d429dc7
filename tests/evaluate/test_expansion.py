import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from circlet.evaluate import expand_queries


def oracle(query, gallery, k, alpha):
    def unit(vector):
        length = math.sqrt(sum(x * x for x in vector))
        return [x / length if length else 0.0 for x in vector]

    expanded, items = [], [unit(g) for g in gallery.tolist()]
    for q in map(unit, query.tolist()):
        scored = sorted((-sum(a * b for a, b in zip(q, g, strict=True)), i) for i, g in enumerate(items))
        total = list(q)
        for negated, i in scored[:k]:
            weight = max(0.0, -negated) ** alpha
            total = [t + weight * x for t, x in zip(total, items[i], strict=True)]
        expanded.append(unit(total))
    return torch.tensor(expanded, dtype=torch.float64)


def draw(seed, n, dim=4):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    k=st.integers(1, 30),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    block_size=st.sampled_from([1, 16, 256]),
)
def test_matches_oracle(seed, k, alpha, block_size):
    query, gallery = draw(seed, 7), draw(seed + 1, 30)
    found = expand_queries(query, gallery, k=k, alpha=alpha, block_size=block_size)
    assert torch.allclose(found, oracle(query, gallery, k, alpha), rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(codes=st.lists(st.integers(0, 15), min_size=2, max_size=20), data=st.data())
def test_ties_rank_by_index(codes, data):
    points = torch.tensor([[0.5 if code >> bit & 1 else -0.5 for bit in range(4)] for code in codes]).double()
    k = data.draw(st.integers(1, len(codes)))
    found = expand_queries(points, points, k=k, alpha=1.0)
    assert torch.allclose(found, oracle(points, points, k, 1.0), rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16))
def test_invariances(seed):
    query, gallery = draw(seed, 5), draw(seed + 1, 20)
    expected = expand_queries(query, gallery, k=6)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(20, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    assert torch.allclose(expand_queries(query, gallery[order], k=6), expected, atol=1e-12)
    assert torch.allclose(
        expand_queries(5 * query @ rotation, gallery @ rotation, k=6), expected @ rotation, atol=1e-12
    )


def test_opposite_neighbours_count_only_in_the_average():
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[-0.6, 0.8]])
    assert torch.equal(expand_queries(query, gallery, k=1, alpha=1.0), query)
    average = torch.tensor([[0.4, 0.8]]) / math.sqrt(0.8)
    assert torch.allclose(expand_queries(query, gallery, k=1, alpha=0.0), average)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.ones(2)}, r"query: found shape \(2,\)"),
        ({"gallery": torch.ones(3, 5)}, "gallery: found dimension 5"),
        ({"k": 0}, "k: found 0, expected 1 to 3"),
        ({"k": 4}, "k: found 4, expected 1 to 3"),
        ({"alpha": -1.0}, "alpha: found -1.0"),
        ({"alpha": math.nan}, "alpha: found nan"),
        ({"block_size": 0}, "block_size: found 0"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        expand_queries(**({"query": torch.ones(2, 2), "gallery": torch.ones(3, 2), "k": 1} | change))
