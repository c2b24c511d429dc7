"""Batches out of shards: what is guaranteed of them, and that they do not depend on who works them out."""

import random
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.sampling import PKSampler, PKStream, ShuffledStream
from circlet.sampling.waiting import Waiting


def cut(labels, num_shards):
    parts = np.array_split(labels, num_shards)
    return [len(part) for part in parts], parts.__getitem__


@st.composite
def collections(draw):
    """Labels of shards, shuffled or sorted by class, some images not of the set; and P and K."""
    P, K = draw(st.integers(2, 6)), draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(1, 40), min_size=P, max_size=25))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.concatenate([labels, np.full(draw(st.integers(0, 5)), -1)])
    if draw(st.booleans()):
        labels = np.random.default_rng(draw(st.integers(0, 9))).permutation(labels)
    buffer = draw(st.integers(2 * P * K, 6 * P * K))
    form = {"buffer": buffer, "open_shards": draw(st.integers(1, 9)), "seed": draw(st.integers(0, 99))}
    return labels, sizes, draw(st.integers(1, 12)), P, K, form


@given(made=collections(), epoch=st.integers(0, 3))
def test_pk_batches(made, epoch):
    labels, sizes, num_shards, P, K, form = made
    sampler = PKStream(*cut(labels, num_shards), sizes, P, K, **form)
    batches = list(sampler.labelled(epoch))
    assert len(batches) == len(sampler) == -(-sum(-(-size // K) for size in sizes) // P)
    for positions, own in batches:
        assert labels[positions].tolist() == own
        assert len(set(positions)) == len(positions)
        per_class = Counter(own)
        assert len(per_class) == P
        assert max(per_class.values()) <= K
    assert list(sampler.batches(epoch)) == [positions for positions, _ in batches]


@given(made=collections(), epoch=st.integers(0, 3), start=st.integers(0, 60))
def test_pk_resumes_anywhere_with_any_number_of_ranks(made, epoch, start):
    labels, sizes, num_shards, P, K, form = made
    given = (*cut(labels, num_shards), sizes, P - P % 2, K)
    whole = list(PKStream(*given, **form).labelled(epoch))[start:]
    ranks = [PKStream(*given, **form, rank=rank, num_ranks=2).labelled(epoch, start) for rank in range(2)]
    for (positions, own), *parts in zip(whole, *ranks, strict=True):
        assert list(chain.from_iterable(part for part, _ in parts)) == positions
        assert list(chain.from_iterable(part for _, part in parts)) == own
        assert set(parts[0][1]).isdisjoint(parts[1][1])


def test_a_large_buffer_gives_every_chunk_whole_and_every_image():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(24), 20))
    sampler = PKStream(*cut(labels, 6), [20] * 24, 8, 4, buffer=2 * len(labels), open_shards=6)
    batches = list(sampler.labelled(2))
    assert sorted(chain.from_iterable(positions for positions, _ in batches)) == list(range(480))
    assert all(set(Counter(own).values()) == {4} for _, own in batches)
    exact = PKSampler(labels, 8, 4)
    assert len(exact) == len(sampler)


def test_epochs_and_seeds_differ():
    labels = np.random.default_rng(0).permutation(np.arange(400) % 20)

    def first(seed, epoch):
        return next(PKStream(*cut(labels, 4), [20] * 20, 4, 4, buffer=64, open_shards=2, seed=seed).batches(epoch))

    assert len({tuple(first(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("ranks", [1, 3])
def test_shuffled(ranks):
    labels = np.arange(100) % 7 - 1
    sizes, of_shard = cut(labels, 5)
    num_images = int((labels >= 0).sum())
    form = {"buffer": 20, "open_shards": 2}
    parts = [
        ShuffledStream(sizes, of_shard, num_images, 10, **form, rank=rank, num_ranks=ranks) for rank in range(ranks)
    ]
    assert len(parts[0]) == num_images // 10
    epochs = []
    for epoch in range(2):
        batches = [
            list(chain.from_iterable(batch)) for batch in zip(*(part.batches(epoch) for part in parts), strict=True)
        ]
        flat = list(chain.from_iterable(batches))
        assert len(set(flat)) == len(flat) == 10 * (num_images // 10)
        assert (labels[flat] >= 0).all()
        assert list(parts[0].batches(epoch, 3)) == list(parts[0].batches(epoch))[3:]
        epochs.append(batches)
    assert epochs[0] != epochs[1]
    assert epochs[0] == list(ShuffledStream(sizes, of_shard, num_images, 10, **form).batches(0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"buffer": 31}, "buffer: found 31 images, expected at least 32, two batches"),
        ({"open_shards": 0}, "open_shards: found 0"),
        ({"num_ranks": 3}, "num_classes_per_batch: found 4 over 3 ranks"),
        ({"seed": -1}, "seed: found -1"),
    ],
)
def test_arguments(change, expected):
    form = {"buffer": 64, "open_shards": 2} | change
    with pytest.raises(ValueError, match=expected):
        PKStream(*cut(np.arange(40) % 8, 2), [5] * 8, 4, 4, **form)
    with pytest.raises(ValueError, match="expected at most 8, the number of classes"):
        PKStream(*cut(np.arange(40) % 8, 2), [5] * 8, 9, 2, buffer=64, open_shards=2)
    with pytest.raises(ValueError, match="batch_size: found 41, expected at most 40"):
        ShuffledStream(*cut(np.arange(40) % 8, 2), 40, 41, buffer=64, open_shards=2)


@given(steps=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), max_size=60), K=st.integers(2, 4))
def test_waiting_against_plain_lists(steps, K):
    """Classes with the most chunks come first; nothing is lost but what is passed over."""
    waiting, plain, rng = Waiting(K, most_of_class=6), {}, random.Random(0)
    finished = set()
    for position, (label, finish, take) in enumerate(steps):
        if waiting.add(label, position):
            plain.setdefault(label, set()).add(position)
        else:
            assert len(plain[label]) == 6
        if finish:
            waiting.finish(label)
            finished.add(label)
        if take and len(plain) >= take:

            def level(c):
                return K - 1 + len(plain[c]) // K if len(plain[c]) >= K else K if c in finished else len(plain[c])

            levels = sorted(map(level, plain), reverse=True)[:take]
            taken = waiting.take(take, rng)
            assert [level(c) for c, _ in taken] == levels
            for c, positions in taken:
                assert 0 < len(positions) <= K
                assert set(positions) <= plain[c]
                plain[c] -= set(positions)
                if not plain[c]:
                    del plain[c]
        assert waiting.size == sum(map(len, plain.values()))
        assert waiting.num_classes == len(plain)
