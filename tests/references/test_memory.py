"""The memory bank against a deque of plain Python, and in a loss."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import circlet
from tests.losses.cases import batch


@given(size=st.integers(1, 7), batches=st.lists(st.integers(0, 10), max_size=8), data=st.data())
def test_it_is_a_deque(size, batches, data):
    bank, oracle = circlet.MemoryBank(size, 2), deque(maxlen=size)
    count = 0
    for rows in batches:
        labels = torch.arange(count, count + rows)
        embeddings = torch.stack([labels.float(), -labels.float()], dim=1)
        bank.update(embeddings, labels)
        oracle.extend(labels.tolist())
        count += rows
        if data.draw(st.booleans()):
            other = circlet.MemoryBank(size, 2)
            other.load_state_dict(bank.state_dict())
            bank = other
        kept, kept_labels = bank.references()
        assert sorted(kept_labels.tolist()) == list(oracle)
        assert len(bank) == len(oracle)
        torch.testing.assert_close(kept, torch.stack([kept_labels.float(), -kept_labels.float()], dim=1))


def test_it_is_more_references():
    embeddings, labels = batch(num_classes=4, per_class=2)
    older, older_labels = batch(num_classes=4, per_class=3, seed=1)
    bank = circlet.MemoryBank(20, embeddings.shape[1], dtype=torch.float64)
    bank.update(older.requires_grad_(), older_labels)
    loss = circlet.CircleLoss()
    expected = loss(embeddings, labels, [(older.detach(), older_labels), None])
    torch.testing.assert_close(loss(embeddings, labels, [bank, None]), expected)
    assert not bank.embeddings.requires_grad


def test_an_empty_bank_changes_nothing():
    embeddings, labels = batch()
    bank = circlet.MemoryBank(20, embeddings.shape[1])
    loss = circlet.CircleLoss()
    torch.testing.assert_close(loss(embeddings, labels, [None, bank]), loss(embeddings, labels))
    alone = loss(embeddings.requires_grad_(), labels, bank)
    alone.backward()
    assert alone == 0
    assert embeddings.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_storage(dtype):
    embeddings, labels = batch(dtype=torch.float32)
    bank = circlet.MemoryBank(40, embeddings.shape[1], dtype=dtype)
    bank.update(embeddings, labels.int())
    kept, kept_labels = bank.references()
    assert kept.dtype == dtype
    assert kept_labels.dtype == torch.int64
    torch.testing.assert_close(kept, embeddings.to(dtype))
    assert circlet.CircleLoss()(embeddings, labels, bank).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: circlet.MemoryBank(0, 4), ValueError, "size: found 0, expected at least 1"),
        (lambda: circlet.MemoryBank(2**45, 512), MemoryError, r"size: found 35184372088832 rows .* GiB\), expected"),
        (
            lambda: circlet.MemoryBank(4, 4, dtype=torch.int8),
            ValueError,
            "dtype: found torch.int8, expected a floating",
        ),
        (
            lambda: circlet.MemoryBank(4, 4).update(torch.ones(2, 3), torch.ones(2).long()),
            ValueError,
            "embeddings: found 3 columns, expected 4 as in the bank",
        ),
        (
            lambda: circlet.MemoryBank(4, 4).update(torch.ones(2, 4), torch.ones(3).long()),
            ValueError,
            r"labels: found shape \(3,\), expected \(2,\)",
        ),
        (lambda: circlet.ClassWeights(2**45, 512), MemoryError, "num_classes: found 35184372088832 rows"),
        (lambda: circlet.ShardedClassWeights(2**45, 512), MemoryError, "num_classes: found 35184372088832 rows"),
        (
            lambda: circlet.ShardedClassWeights(4, 4, sample_rate=0),
            ValueError,
            "sample_rate: found 0, expected above 0",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
