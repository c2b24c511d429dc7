"""Better is said of an embedding only where the classes agree that it is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet.evaluate import retrieval
from circlet.transfer import Judged, compare, judge
from circlet.transfer.judging import LIKELY, SURE, joined

LABELS = torch.arange(60) // 5


def judged(map_at_r, recall=None):
    return Judged(map_at_r, torch.ones(len(map_at_r)) if recall is None else recall, LABELS[: len(map_at_r)])


@given(seed=st.integers(0, 999), confidence=st.sampled_from([LIKELY, SURE]))
def test_an_embedding_is_not_better_than_itself(seed, confidence):
    values = torch.rand(60, generator=torch.Generator().manual_seed(seed))
    verdict = compare(judged(values), judged(values.clone()), confidence)
    assert tuple(verdict.map_at_r) == (0.0, 0.0, 0.0)
    assert not verdict.better


def test_better_in_every_class_is_better_and_worse_is_not():
    values = torch.rand(60, generator=torch.Generator().manual_seed(0)) / 2
    gain = 0.02 + 0.01 * torch.rand(60, generator=torch.Generator().manual_seed(1))
    assert compare(judged(values + gain), judged(values)).better
    assert not compare(judged(values), judged(values + gain)).better


def test_by_a_hair_or_in_one_class_alone_is_not_better():
    values = torch.full((60,), 0.5)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(12, generator=generator)[LABELS] * 0.1
    assert not compare(judged(values + noise - noise.mean() + 0.001), judged(values)).better
    assert not compare(judged(values + 0.4 * (LABELS == 3)), judged(values)).better


@pytest.mark.parametrize(("lost", "better"), [(0, True), (1, False), (30, False)])
def test_recall_must_not_be_lost(lost, better):
    values = torch.full((60,), 0.5)
    recall = torch.ones(60)
    recall[:lost] = 0  # one in sixty is more than a point
    assert compare(judged(values + 0.1, recall), judged(values)).better == better


def test_two_queries_of_250_may_be_chance():
    labels, values = torch.arange(250) // 10, torch.full((250,), 0.5)
    recall = torch.ones(250)
    recall[[3, 47]] = 0
    before = Judged(values, torch.ones(250), labels)
    assert compare(Judged(values + 0.1, recall, labels), before).better
    recall[[99, 180]] = 0
    assert not compare(Judged(values + 0.1, recall, labels), before).better


def test_one_class_judges_nothing():
    one = Judged(torch.ones(5), torch.ones(5), torch.zeros(5, dtype=torch.int64))
    assert not compare(one, one._replace(map_at_r=torch.zeros(5))).better


def test_judge_leaves_out_what_has_no_match_and_agrees_with_retrieval():
    generator = torch.Generator().manual_seed(0)
    embeddings, labels = torch.randn(41, 6, generator=generator), torch.cat([torch.arange(40) // 4, torch.tensor([99])])
    found, expected = judge(embeddings, labels), retrieval(embeddings, labels)
    assert len(found.labels) == 40
    assert 99 not in found.labels
    assert found.summary()["map@r"] == pytest.approx(expected.map_at_r)
    assert found.summary()["recall@1"] == pytest.approx(expected.recall_at_k[1] * 41 / 40)


def test_what_is_of_ones_own_group_is_passed_over():
    """Two photographs of each encounter: the nearest of all, but of no use."""
    embeddings = torch.eye(4).repeat_interleave(2, 0) + 0.1
    labels, groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), torch.arange(8) // 2
    assert judge(embeddings, labels).recall_at_1.mean() == 1
    assert judge(embeddings, labels, groups).recall_at_1.mean() < 1
    assert len(judge(embeddings, torch.arange(8) // 2, groups).labels) == 0


@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_classes_of_different_folds_stay_apart(sizes):
    folds = [Judged(torch.full((n,), i / 10), torch.ones(n), torch.arange(n) // 2) for i, n in enumerate(sizes)]
    whole = joined(folds)
    assert len(whole.labels) == sum(sizes)
    assert len(whole.labels.unique()) == sum(len(fold.labels.unique()) for fold in folds)
    for fold, part in zip(folds, whole.labels.split(sizes), strict=True):
        same = fold.labels[:, None] == fold.labels
        assert torch.equal(part[:, None] == part, same)
    assert torch.equal(whole.map_at_r, torch.cat([fold.map_at_r for fold in folds]))
