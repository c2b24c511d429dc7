import math
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet.sampling import PKSampler


@st.composite
def categorised(draw):
    """(sampler, labels, category of each image, images of each class, category of each class, P, K, categories)."""
    P, K = draw(st.integers(2, 6)), draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(1, 15), min_size=P, max_size=16).filter(lambda sizes: max(sizes) > 1))
    category_of = draw(st.lists(st.integers(0, 3), min_size=len(sizes), max_size=len(sizes)))
    num_categories = draw(st.integers(1, min(P, len(set(category_of)))))
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    categories = np.array(category_of)[labels] * 5 - 3
    seed = draw(st.integers(0, 9))
    sampler = PKSampler(labels, P, K, categories=categories, num_categories=num_categories, seed=seed)
    return sampler, labels, sizes, category_of, P, K, num_categories


@given(categorised(), st.integers(0, 3))
def test_batches(made, epoch):
    sampler, labels, sizes, category_of, P, K, num_categories = made
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert set().union(*batches) == set(range(len(labels)))
    chunks = [math.ceil(n / K) for n in sizes]
    assert len(batches) >= max(math.ceil(sum(chunks) / P), max(chunks))
    classes_in = Counter(category_of)
    in_batches = Counter()
    for batch in batches:
        assert len(set(batch)) == len(batch)
        per_class = Counter(labels[batch].tolist())
        assert len(per_class) == P
        assert all(count == min(K, sizes[c]) for c, count in per_class.items())
        in_batches.update(per_class.keys())
        found = Counter(category_of[c] for c in per_class)
        if min(classes_in.values()) >= P:
            assert len(found) <= num_categories
    # Each class at least as often as its images need; beyond that only to fill batches up.
    assert all(in_batches[c] >= n for c, n in enumerate(chunks))
    assert list(sampler.batches(epoch)) == batches
    assert list(sampler.batches(epoch, 2)) == batches[2:]


@given(categorised())
def test_one_category_is_filled_up_only_if_it_has_too_few_classes(made):
    sampler, labels, _, category_of, P, _, num_categories = made
    if num_categories > 1:
        return
    sizes = Counter(category_of)
    for batch in sampler:
        found = Counter(category_of[c] for c in set(labels[batch].tolist()))
        # One of the categories gives all that it has, up to P.
        assert any(found[category] == min(P, sizes[category]) for category in found)


def test_as_many_batches_as_the_categories_alone_need():
    sizes, P, K = [12] * 20, 5, 4
    labels = np.repeat(np.arange(20), sizes)
    sampler = PKSampler(labels, P, K, categories=labels // 10)
    assert len(sampler) == 12  # 2 x 10 classes x 3 chunks / 5
    batches = list(sampler)
    assert all(len({int(labels[i]) // 10 for i in batch}) == 1 for batch in batches)
    counts = Counter(chain.from_iterable(set(labels[batch].tolist()) for batch in batches))
    assert set(counts.values()) == {3}
    kinds = [int(labels[batch[0]]) // 10 for batch in batches]
    assert kinds not in ([0] * 6 + [1] * 6, [1] * 6 + [0] * 6, [0, 1] * 6, [1, 0] * 6)


def test_two_categories_share_a_batch():
    labels = np.repeat(np.arange(24), 4)
    for batch in PKSampler(labels, 6, 4, categories=labels // 6, num_categories=2):
        found = Counter(int(c) // 6 for c in set(labels[batch].tolist()))
        assert sorted(found.values()) == [3, 3]


def test_small_categories_fill_each_other_up():
    labels = np.repeat(np.arange(12), 4)  # six categories of two classes each
    sampler = PKSampler(labels, 4, 4, categories=labels // 2)
    assert len(sampler) == 3
    for batch in sampler:
        assert sorted(Counter(int(c) // 2 for c in set(labels[batch].tolist())).values()) == [2, 2]


def test_a_single_category_has_as_many_batches_as_none():
    labels = np.repeat(np.arange(9), range(2, 11))
    with_one = PKSampler(labels, 4, 3, categories=np.zeros(len(labels), dtype=int))
    assert len(with_one) == len(PKSampler(labels, 4, 3))


def test_orders_differ_by_seed_and_epoch_and_agree_over_ranks():
    labels = np.repeat(np.arange(24), 6)

    def sampler(seed=0, **ranks):
        return PKSampler(labels, 4, 2, categories=torch.tensor(labels // 8), seed=seed, **ranks)

    orders = {str(list(sampler(seed).batches(epoch))) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    parts = zip(sampler(rank=0, num_ranks=2), sampler(rank=1, num_ranks=2), strict=True)
    assert [[*one, *other] for one, other in parts] == list(sampler())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": [0, 0, 1]}, r"categories: found shape \(3,\), expected that of labels, \(4,\)"),
        ({"categories": [0, 1, 1, 1]}, "categories: found two for the class of image 0"),
        ({"categories": [0.5, 0.5, 1, 1]}, "categories: found dtype float64"),
        ({"categories": [0, 0, 1, 1], "num_categories": 3}, "num_categories: found 3 for 2 categories"),
        ({"categories": [0, 0, 1, 1], "num_categories": 0}, "num_categories: found 0"),
        ({"num_categories": 2}, "num_categories: found 2 without categories"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        PKSampler([0, 0, 1, 1], 2, 2, **options)
