import math
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from circlet.sampling import PKSampler, ShuffledBatches


def labels_of(sizes):
    labels = np.repeat(np.arange(len(sizes)) * 7 - 3, sizes)
    return np.random.default_rng(0).permutation(labels)


@st.composite
def samplers(draw):
    P, K = draw(st.integers(2, 6)), draw(st.integers(2, 5))
    sizes = draw(st.lists(st.integers(1, 30), min_size=P, max_size=20).filter(lambda sizes: max(sizes) > 1))
    return PKSampler(labels_of(sizes), P, K, seed=draw(st.integers(0, 99))), labels_of(sizes), sizes, P, K


# PKSampler


@given(made=samplers(), epoch=st.integers(0, 5))
def test_pk_batches(made, epoch):
    sampler, labels, sizes, P, K = made
    sampler.set_epoch(epoch)
    batches = list(sampler)
    chunks = [math.ceil(n / K) for n in sizes]
    assert len(batches) == len(sampler) == max(math.ceil(sum(chunks) / P), max(chunks))
    assert set().union(*batches) == set(range(len(labels)))
    size_of = dict(zip((np.arange(len(sizes)) * 7 - 3).tolist(), sizes, strict=True))
    for batch in batches:
        assert len(set(batch)) == len(batch)
        per_class = Counter(labels[batch].tolist())
        assert len(per_class) == P
        assert all(count == min(K, size_of[c]) for c, count in per_class.items())
        assert [c for c, following in pairwise([*labels[batch].tolist(), None]) if c != following] == list(per_class)


@given(made=samplers(), epoch=st.integers(0, 5), start=st.integers(0, 80))
def test_pk_resumes_anywhere(made, epoch, start):
    sampler, _, _, _, _ = made
    sampler.set_epoch(epoch)
    whole = list(sampler)
    following = list(sampler)
    sampler.set_epoch(epoch)
    assert list(sampler) == whole
    sampler.set_epoch(epoch + 1)
    assert list(sampler) == following
    sampler.set_epoch(epoch, start_batch=start)
    assert list(sampler) == whole[start:]
    assert list(sampler) == following
    assert list(sampler.batches(epoch, start)) == whole[start:]
    assert len(sampler) == len(whole)


def test_pk_epochs_and_seeds_differ():
    labels = labels_of([10] * 10)
    orders = []
    for seed in range(3):
        sampler = PKSampler(labels, 4, 4, seed=seed)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            orders.append(str(list(sampler)))
    assert len(set(orders)) == 9


def test_pk_classes_mix():
    # Equal classes must not meet the same classes all epoch long.
    labels = labels_of([40] * 8)
    together = {frozenset(labels[batch].tolist()) for batch in PKSampler(labels, 4, 4)}
    assert len(together) > 5


def test_pk_one_class_far_larger():
    labels = labels_of([100, 3, 2, 1])
    sampler = PKSampler(labels, 3, 4)
    assert len(sampler) == 25
    assert all(len(set(labels[batch].tolist())) == 3 for batch in sampler)


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, np.int32])
def test_pk_label_types(kind):
    labels = labels_of([5, 6, 7])
    assert list(PKSampler(kind(labels), 2, 2)) == list(PKSampler(labels, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 0, 1, 1], 3, 2), "num_classes_per_batch: found 3, expected at most 2"),
        (([0, 0, 1, 1], 1, 2), "num_classes_per_batch: found 1, expected an integer of at least 2"),
        (([0, 0, 1, 1], 2, 1), "samples_per_class: found 1, expected an integer of at least 2"),
        (([0, 0, 1, 1], 2, 2.0), "samples_per_class: found 2.0"),
        (([0, 1, 2], 2, 2), "labels: found 3 classes of one image each"),
        (([], 2, 2), r"labels: found shape \(0,\)"),
        (([[0, 1]], 2, 2), r"labels: found shape \(1, 2\)"),
        (([0.0, 1.0], 2, 2), "labels: found dtype float64"),
        (([True, False], 2, 2), "labels: found dtype bool"),
    ],
)
def test_pk_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        PKSampler(*arguments)


@pytest.mark.parametrize("sampler", [PKSampler([0, 0, 1, 1], 2, 2), ShuffledBatches(4, 2)])
def test_set_epoch_errors(sampler):
    with pytest.raises(ValueError, match="epoch: found -1"):
        sampler.set_epoch(-1)
    with pytest.raises(ValueError, match="start_batch: found -1"):
        sampler.set_epoch(0, start_batch=-1)


# ShuffledBatches


@given(n=st.integers(1, 60), batch_size=st.integers(1, 20), drop_last=st.booleans(), start=st.integers(0, 10))
def test_shuffled_batches(n, batch_size, drop_last, start):
    sampler = ShuffledBatches(n, batch_size, drop_last=drop_last)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    images = [i for batch in batches for i in batch]
    assert len(set(images)) == len(images) == (n - n % batch_size if drop_last else n)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    if n > 1 and batch_size > 1:
        assert all(1 < len(batch) <= batch_size + 1 for batch in batches)
    sampler.set_epoch(0, start_batch=start)
    assert list(sampler) == batches[start:]
    assert len(sampler) == len(batches)


def test_shuffled_epochs_and_seeds_differ():
    sampler, other = ShuffledBatches(30, 7), ShuffledBatches(30, 7, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first != list(other)


@pytest.mark.parametrize(("arguments", "message"), [((0, 2), "num_samples: found 0"), ((3, 0), "batch_size: found 0")])
def test_shuffled_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffledBatches(*arguments)


# Both


@given(made=samplers(), num_ranks=st.integers(1, 3), epoch=st.integers(0, 3))
def test_pk_ranks_share_the_same_batches_by_whole_classes(made, num_ranks, epoch):
    _, labels, sizes, P, K = made
    if P * num_ranks > len(sizes):
        num_ranks = 1
    ranks = [PKSampler(labels, P * num_ranks, K, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    whole = PKSampler(labels, P * num_ranks, K)
    for sampler in (whole, *ranks):
        sampler.set_epoch(epoch)
    assert [list(chain(*parts)) for parts in zip(*ranks, strict=True)] == list(whole)
    assert all(len(set(labels[part].tolist())) == P for sampler in ranks for part in sampler)
    assert {len(sampler) for sampler in ranks} == {len(whole)}


@given(n=st.integers(8, 60), batch_size=st.integers(8, 20), num_ranks=st.integers(2, 4), drop_last=st.booleans())
def test_shuffled_ranks_share_the_same_batches_evenly(n, batch_size, num_ranks, drop_last):
    ranks = [
        ShuffledBatches(n, batch_size, drop_last=drop_last, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)
    ]
    whole = list(ShuffledBatches(n, batch_size, drop_last=drop_last))
    parts = list(zip(*ranks, strict=True))
    together = [list(chain(*batch)) for batch in parts]
    if 0 < n % batch_size < 2 * num_ranks and n > batch_size and not drop_last and n % batch_size > 1:
        whole = [*whole[:-2], whole[-2] + whole[-1]]
    assert together == whole
    assert len(ranks[0]) == len(whole)
    for batch in parts:
        sizes = [len(part) for part in batch]
        assert min(sizes) >= 2
        assert max(sizes) - min(sizes) <= 1


def test_rank_errors():
    with pytest.raises(ValueError, match="num_classes_per_batch: found 3 over 2 ranks, expected a multiple"):
        PKSampler([0, 0, 1, 1, 2, 2], 3, 2, num_ranks=2)
    with pytest.raises(ValueError, match="rank: found 2, expected 0 to 1"):
        PKSampler([0, 0, 1, 1], 2, 2, rank=2, num_ranks=2)
    with pytest.raises(ValueError, match="batch_size: found 3 over 2 ranks, expected at least 4"):
        ShuffledBatches(9, 3, num_ranks=2)
    with pytest.raises(ValueError, match="num_samples: found 3 over 2 ranks, expected at least 4"):
        ShuffledBatches(3, 4, num_ranks=2)


@pytest.mark.parametrize("sampler", [PKSampler([0, 0, 1, 1, 2, 2, 2], 2, 2), ShuffledBatches(7, 3)])
def test_in_a_data_loader(sampler):
    loader = DataLoader(TensorDataset(torch.arange(7)), batch_sampler=sampler)
    assert len(loader) == len(sampler)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert [batch.tolist() for (batch,) in loader] == list(sampler.batches(epoch))


BOTH = pytest.mark.parametrize(
    "make",
    [lambda **ranks: PKSampler(labels_of([6] * 8), 4, 3, **ranks), lambda **ranks: ShuffledBatches(48, 12, **ranks)],
    ids=["pk", "shuffled"],
)


@BOTH
def test_each_pass_is_the_next_epoch(make):
    sampler = make()
    passes = [list(sampler) for _ in range(3)]
    assert passes == [list(make().batches(epoch)) for epoch in range(3)]
    assert len({str(batches) for batches in passes}) == 3
    sampler.set_epoch(1)
    assert [list(sampler), list(sampler)] == passes[1:]


@BOTH
def test_a_pass_begins_with_its_first_batch(make):
    """An iterator that is made and not used is no pass; one that is left in the middle is."""
    sampler = make()
    unused = iter(sampler)
    assert next(iter(sampler)) == next(sampler.batches(0))
    assert list(sampler) == list(sampler.batches(1))
    assert next(unused) == next(sampler.batches(2))


@BOTH
@pytest.mark.parametrize(
    "workers",
    [
        {},
        pytest.param({"num_workers": 2}, marks=pytest.mark.subprocess),
        pytest.param({"num_workers": 2, "persistent_workers": True}, marks=pytest.mark.subprocess),
    ],
)
def test_a_data_loader_that_nobody_tells_the_epoch(make, workers):
    """As under Lightning, which calls set_epoch of samplers but not of batch samplers."""
    loader = DataLoader(TensorDataset(torch.arange(48)), batch_sampler=make(), **workers)
    passes = [[batch.tolist() for (batch,) in loader] for _ in range(3)]
    assert passes == [list(make().batches(epoch)) for epoch in range(3)]
    loader.batch_sampler.set_epoch(7, start_batch=1)
    assert [batch.tolist() for (batch,) in loader] == list(make().batches(7, 1))
    assert [batch.tolist() for (batch,) in loader] == list(make().batches(8))


@BOTH
def test_ranks_stay_in_step_and_disjoint(make):
    ranks = [make(rank=rank, num_ranks=2) for rank in range(2)]
    for epoch in range(3):
        parts = list(zip(*ranks, strict=True))
        assert [[*first, *second] for first, second in parts] == list(make().batches(epoch))
        assert not any(set(first) & set(second) for first, second in parts)
