"""Neighbours, labels and classes, against brute force and with planted faults."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet.curate import few_images, look_alike_classes, nearest_of, suspicious_labels
from circlet.curate.nearest import Nearest
from circlet.curate.short_form import short_form
from circlet.data import ImageSet
from circlet.data.images import FileReader

CLASSES, EACH = 12, 12


def scattered(seed=0, spread=0.5, classes=CLASSES, each=EACH, dim=16):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=generator)
    rows = centres.repeat_interleave(each, 0) + spread * torch.randn(classes * each, dim, generator=generator)
    return rows, np.arange(classes).repeat(each)


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 100))
def test_nearest_is_that_of_all_similarities(n, k, seed):
    rows = torch.nn.functional.normalize(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)))
    found = nearest_of(rows * 3, k)
    everything = (rows @ rows.T).fill_diagonal_(-2).numpy()
    k = min(k, n - 1)
    assert found.indices.shape == found.similarity.shape == (n, max(k, 0))
    expected = np.sort(everything, axis=1)[:, ::-1][:, :k]
    np.testing.assert_allclose(found.similarity, expected, atol=1e-5)
    if k:
        np.testing.assert_allclose(np.take_along_axis(everything, found.indices, 1), expected, atol=1e-5)
        assert (found.indices != np.arange(n)[:, None]).all()


def test_nearest_of_nothing_and_of_one():
    assert nearest_of(torch.zeros(0, 4), 3).indices.shape == (0, 0)
    assert nearest_of(torch.ones(1, 4), 3).indices.shape == (1, 0)
    with pytest.raises(ValueError, match="k: found 0, expected at least 1"):
        nearest_of(torch.ones(2, 4), 0)


def test_a_clean_set_has_no_label_that_is_probably_wrong():
    rows, labels = scattered()
    found = suspicious_labels(nearest_of(rows, 11), labels)
    assert (found.likely, found.judged) == (0, len(labels))


@pytest.mark.parametrize("seed", range(3))
def test_swapped_labels_are_found_with_the_right_class(seed):
    rows, labels = scattered(seed)
    wrong = labels.copy()
    swapped = np.random.default_rng(seed).choice(len(labels), 7, replace=False)
    wrong[swapped] = (wrong[swapped] + 1 + seed) % CLASSES
    found = suspicious_labels(nearest_of(rows, 11), wrong)
    likely = {one.image: one for one in found.suspicious if one.likely}
    assert set(likely) <= set(swapped.tolist())  # two of one class with one wrong label vouch for each other
    assert len(likely) >= 5
    for image, one in likely.items():
        assert (one.label, one.suggested) == (wrong[image], labels[image])
        assert all(wrong[other] == one.suggested for other in one.neighbours)
        assert 0.4 <= one.score <= 1
    scores = [one.score for one in found.suspicious]
    assert scores == sorted(scores, reverse=True)


def test_an_embedding_that_sees_nothing_calls_no_label_probably_wrong():
    labels = np.arange(20).repeat(10)
    rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    assert suspicious_labels(nearest_of(rows, 11), labels).likely == 0


def test_a_copy_under_the_same_wrong_label_does_not_vote():
    rows, labels = scattered()
    wrong, copies = labels.copy(), np.full(len(labels) + 1, -1)
    wrong[0] = 5
    rows, wrong = torch.cat([rows, rows[:1]]), np.append(wrong, 5)
    copies[[0, -1]] = 0
    assert {one.image for one in suspicious_labels(nearest_of(rows, 21), wrong, copies).suspicious} >= {0, len(labels)}
    assert 0 not in {one.image for one in suspicious_labels(nearest_of(rows, 21), wrong).suspicious}


def test_labels_keep_their_finding_when_images_are_permuted():
    rows, labels = scattered()
    labels[3] = 7
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    plain, mixed = (suspicious_labels(nearest_of(rows[o], 11), labels[o.numpy()]) for o in (torch.arange(144), order))
    assert {one.image for one in plain.suspicious} == {int(order[one.image]) for one in mixed.suspicious}


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1], [0, 1, 2, 3]])
def test_too_little_to_judge(labels):
    found = nearest_of(torch.eye(4)[: len(labels)], 11)
    assert suspicious_labels(found, np.array(labels, dtype=np.int64)).suspicious == ()
    assert look_alike_classes(found, np.array(labels, dtype=np.int64)) == []


def test_a_class_under_two_names_is_found_and_no_other():
    rows, labels = scattered(spread=0.6)
    halves = labels.copy()
    halves[np.flatnonzero(labels == 4)[::2]] = CLASSES
    pairs = look_alike_classes(nearest_of(rows, 11), halves)
    assert [(pair.first, pair.second) for pair in pairs] == [(4, CLASSES)]
    assert pairs[0].mixing.low <= pairs[0].mixing.mean <= pairs[0].mixing.high
    assert 0.8 < pairs[0].mixing.mean < 1.3
    assert all((halves[i], halves[j]) == (4, CLASSES) for i, j in pairs[0].images)
    assert look_alike_classes(nearest_of(rows, 11), labels) == []


@pytest.mark.parametrize("each", [2, 3, 4, 6])
def test_small_classes_that_are_apart_are_not_taken_for_one(each):
    rows, labels = scattered(spread=0.1, each=each, classes=3)
    assert look_alike_classes(nearest_of(rows, 11), labels) == []


def test_few_images():
    assert [tuple(one) for one in few_images(np.array([0] * 5 + [1] * 4 + [2]))] == [(2, 1), (1, 4)]
    assert few_images(np.zeros(0, np.int64)) == []


def image_set(labels, begin=0):
    names = [f"{i}.png" for i in range(begin, begin + len(labels))]
    return ImageSet.from_classes([f"c{label}" for label in labels], names, FileReader("nowhere", tuple(names)))


def test_the_short_form_reads_no_image_and_says_what_matters():
    rows, labels = scattered()
    train, query = labels < 6, labels >= 6
    sets = [image_set(labels[train]), image_set(labels[query], 1000)]
    clean = short_form(sets, [rows[train], rows[query]])
    assert clean.warnings == ()
    assert clean.content["judged"] == len(labels)
    wrong = labels.copy()
    wrong[[0, 20, 40]] = [5, 3, 0]
    rows[-1] = rows[0]
    sets = [image_set(wrong[train]), image_set(labels[query], 1000)]
    found = short_form(sets, [rows[train], rows[query]])
    assert found.warnings[0].startswith("1 test images look the same as training images")
    assert "of 144 labels are probably wrong, such as that of" in found.warnings[1]
    assert found.content["leaks"] == [{"train": "0.png", "query": "1071.png", "similarity": 1.0}]
    assert {"20.png", "40.png"} <= {one["image"] for one in found.content["suspicious"] if one["likely"]}


def test_the_short_form_of_a_large_set_draws_classes():
    rows, labels = scattered()
    found = short_form([image_set(labels[:72]), image_set(labels[72:], 72)], [rows[:72], rows[72:]], most=60)
    assert found.content["judged"] == 60


def test_neighbours_that_are_missing_altogether():
    none = Nearest(np.zeros((9, 0), np.float32), np.zeros((9, 0), np.int64))
    assert suspicious_labels(none, np.arange(9) // 3).suspicious == ()
