"""Thresholds: that they keep what was asked for on the classes they were chosen on, and what of them is in a file."""

import itertools
import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet.evaluate import Thresholds, choose_thresholds, leave_one_class_out
from circlet.evaluate.accepting import MARGIN, lowest_threshold, num_allowed
from circlet.evaluate.pair_scores import pair_scores
from circlet.evaluate.threshold import for_gallery
from circlet.similarity import unit_rows


def a_set(seed=0, n=240, num_classes=24, dim=8, noise=0.6):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % num_classes
    centres = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    return unit_rows(centres[labels] + noise * torch.randn(n, dim, generator=generator, dtype=torch.float64)), labels


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12), st.floats(0.001, 1.0))
def test_the_lowest_threshold_that_lets_in_no_more(values, rate):
    scores = torch.tensor(sorted(values, reverse=True), dtype=torch.float64) / 4
    allowed = num_allowed(rate, len(scores))
    assert allowed <= rate * len(scores) + 1e-9 < allowed + 1 + 1e-6
    threshold, accepted = lowest_threshold(scores, allowed)
    assert accepted == int((scores >= threshold).sum()) <= allowed
    lower = scores[scores < threshold]
    if len(lower):
        assert int((scores >= lower.max()).sum()) > allowed


def test_what_is_found_is_what_the_classes_give():
    rows, labels = a_set()
    found = choose_thresholds(rows, labels, fpirs=(0.1, 0.02), fars=(0.05, 0.001))
    scores = leave_one_class_out(rows, labels)
    for each in found.identify:
        at = scores.at(each.similarity)
        assert (each.found, each.missed) == pytest.approx((at.fpir, at.fnir[1]))
        assert each.low <= each.found <= each.rate
        assert each.found <= each.high
        assert (each.gallery_classes, each.gallery_images, each.classes, each.trials) == (23, 230, 24, 240)
        assert each.resolved
    for each in found.verify:
        pairs = list(itertools.combinations(range(240), 2))
        similar = np.array([float(rows[i] @ rows[j]) for i, j in pairs])
        same = np.array([bool(labels[i] == labels[j]) for i, j in pairs])
        assert each.found == pytest.approx((similar[~same] >= each.similarity).mean())
        assert each.missed == pytest.approx((similar[same] < each.similarity).mean())
        assert each.low <= each.found <= each.rate
        assert (each.trials, each.gallery_classes) == ((~same).sum(), 0)
    assert [each.similarity for each in found.identify] == sorted(each.similarity for each in found.identify)


def test_parts_are_not_compared_with_each_other():
    """Each in a space of its own: turned, they give what they give alone."""
    rows, labels = a_set()
    part = (labels % 3).long()
    turned = rows.clone()
    for number in range(3):
        turn = torch.linalg.qr(
            torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
        ).Q
        turned[part == number] = rows[part == number] @ turn
    one, other = (choose_thresholds(each, labels, folds=part, fars=(0.01,)) for each in (rows, turned))
    for first, second in zip((*one.identify, *one.verify), (*other.identify, *other.verify), strict=True):
        assert first.similarity == pytest.approx(second.similarity)
        assert (first.found, first.missed) == pytest.approx((second.found, second.missed))
    assert one.base == one.identify[0].gallery_classes == 7
    unknown = torch.cat([leave_one_class_out(rows[part == n], labels[part == n]).unknown_best for n in range(3)])
    assert one.identify[0].found == (unknown >= one.identify[0].similarity).double().mean()


def test_a_larger_gallery_needs_a_higher_threshold():
    rows, labels = a_set()
    small, large = (choose_thresholds(rows, labels, gallery_classes=n, fpirs=(0.1,)) for n in (23, 100))
    scores = leave_one_class_out(rows, labels)
    assert large.identify[0].similarity > small.identify[0].similarity
    assert for_gallery(scores.at(large.identify[0].similarity).fpir, 23, 100) == large.identify[0].found <= 0.1
    fewer = choose_thresholds(rows, labels, gallery_classes=5, fpirs=(0.1,)).identify[0]
    assert (fewer.similarity, fewer.gallery_classes) == (small.identify[0].similarity, 5)
    assert small.identify[0].expected_rate(100) == for_gallery(small.identify[0].found, 23, 100)
    assert small.verify[0].expected_rate(100) == small.verify[0].found


def test_the_rate_foreseen_for_a_larger_gallery_is_about_right():
    """By 12 of 60 classes, over which it is averaged, at the threshold that gives one in five for all 60."""
    rows, labels = a_set(5, n=600, num_classes=61, dim=16)
    whole = leave_one_class_out(rows, labels)
    threshold, foreseen = whole.threshold_at(0.2), []
    for seed in range(60):
        few = torch.isin(labels, torch.randperm(61, generator=torch.Generator().manual_seed(seed))[:13])
        foreseen.append(for_gallery(leave_one_class_out(rows[few], labels[few]).at(threshold).fpir, 12, 60))
    assert whole.at(threshold).fpir == pytest.approx(0.2, abs=0.005)
    assert 0.12 < np.mean(foreseen) < 0.28


def test_of_the_curve_for_other_galleries_and_rates():
    rows, labels = a_set()
    found = choose_thresholds(rows, labels)
    assert found.identify_at(0.1) == found.identify_at(0.1, 23) == found.identify[0]
    scores = leave_one_class_out(rows, labels)
    for fpir, number in ((0.05, None), (0.1, 200), (0.1, 3), (0.3, 40)):
        each = found.identify_at(fpir, number)
        assert (each.rate, each.gallery_classes) == (fpir, number or 23)
        assert for_gallery(scores.at(each.similarity).fpir, 23, max(number or 0, 23)) == pytest.approx(each.found)
        assert each.found <= fpir
        assert each.low <= each.found <= each.high
        assert each.missed == pytest.approx(scores.at(each.similarity).fnir[1])
    assert found.identify_at(0.1, 3).similarity == pytest.approx(found.identify[0].similarity, abs=0.02)
    assert found.verify_at(1e-3) == found.verify[1]
    with pytest.raises(
        ValueError, match=r"far: found 0\.5, expected one that a threshold was chosen for: 0\.01, 0\.001"
    ):
        found.verify_at(0.5)
    with pytest.raises(ValueError, match="identify: found no threshold, expected one"):
        Thresholds((), ()).identify_at(0.1)


def test_what_so_few_cannot_resolve_is_said():
    rows, labels = a_set(n=24, num_classes=4)
    found = choose_thresholds(rows, labels, fpirs=(0.1, 0.01), fars=(0.1, 1e-4))
    assert [each.resolved for each in (*found.identify, *found.verify)] == [True, False, True, False]
    scores = leave_one_class_out(rows, labels)
    strict = found.identify[1]
    assert strict.similarity == pytest.approx(float(scores.unknown_best.max()) + MARGIN)
    assert strict.found == 0
    assert "24 images of unknown classes are too few for 1 of 100" in strict.sentence
    assert "At " in found.identify[0].sentence
    assert "1 of 10 images of unknown classes is taken for one of the 3 enrolled" in found.identify[0].sentence
    assert "of the pairs of one class are refused" in found.verify[0].sentence


def test_groups_are_passed_over():
    rows, labels = a_set()
    bursts = torch.cat([rows, rows])  # each image twice, which anything would find
    groups = torch.arange(240).repeat(2)
    found = choose_thresholds(bursts, labels.repeat(2), groups=groups)
    assert found.identify[0].missed == pytest.approx(choose_thresholds(rows, labels).identify[0].missed)
    assert choose_thresholds(bursts, labels.repeat(2)).identify[0].missed < found.identify[0].missed


def test_parts_that_say_nothing_are_left_out():
    rows, labels = a_set(n=60, num_classes=6)
    lone = torch.cat([labels, torch.tensor([50, 51, 60, 60])])
    folds = torch.cat([torch.zeros(60), torch.tensor([1.0, 1.0, 2.0, 2.0])]).long()
    one = choose_thresholds(torch.cat([rows, rows[:4]]), lone, folds=folds)
    assert one == choose_thresholds(rows, labels)
    with pytest.raises(ValueError, match="labels: found 2 classes without another image to find, expected two in one"):
        choose_thresholds(rows[:2], [0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fpirs": (0.0,)}, "fpirs: found 0.0"),
        ({"fars": (2.0,)}, "fars: found 2.0"),
        ({"gallery_classes": 0}, "gallery_classes: found 0, expected at least 1"),
        ({"folds": [0]}, r"folds: found shape \(1,\), expected \(240,\)"),
        ({"labels": [0.5] * 240}, "labels: found dtype torch.float32, expected integers"),
    ],
)
def test_errors(changes, message):
    rows, labels = a_set()
    with pytest.raises(ValueError, match=message):
        choose_thresholds(**{"embeddings": rows, "labels": labels, **changes})


def test_they_are_what_they_were_after_a_file():
    found = choose_thresholds(*a_set())
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Thresholds.from_json(json.loads(text)) == found
    later = json.loads(text)
    later["identify"][0]["of_a_later_version"] = later["new"] = 1
    assert Thresholds.from_json(later) == found
    assert Thresholds.from_json({}) == Thresholds((), ())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("identify", 0, "similarity"), 7.0, "similarity: found 7.0, expected a cosine"),
        (("identify", 0, "similarity"), math.nan, "similarity: found nan, expected a cosine"),
        (("identify", 0, "similarity"), "x", r"thresholds.identify\[0\].similarity: found 'x', expected a number"),
        (("identify", 0, "rate"), 0.0, "rate: found 0.0, expected a share"),
        (("identify", 0, "missed"), 2.0, "missed: found 2.0, expected a share"),
        (("identify", 0, "trials"), -1, "trials: found -1, expected 0 or more"),
        (("identify", 0, "task"), "verify", r"thresholds.identify\[0\].task: found 'verify', expected 'identify'"),
        (("identify", 0, "task"), "other", r"thresholds.identify\[0\].task: found 'other'"),
        (("identify",), {}, "thresholds.identify: found {}, expected a list"),
        (("curve",), [["a"]], r"thresholds.curve\[0\]: found \['a'\], expected a list of 3"),
        (("base",), 1.5, "thresholds.base: found 1.5, expected a whole number"),
    ],
)
def test_what_a_file_holds_is_checked(place, value, message):
    content = choose_thresholds(*a_set(n=48, num_classes=6)).to_json()
    at = content
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    with pytest.raises(ValueError, match=message):
        Thresholds.from_json(content)
    with pytest.raises(ValueError, match="thresholds: found 'x', expected an object"):
        Thresholds.from_json("x")


def test_of_many_lone_images_there_may_be_no_threshold_for_pairs(monkeypatch):
    monkeypatch.setattr("circlet.evaluate.thresholds.pair_scores", partial(pair_scores, max_pairs=8))
    labels = torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(30)])  # two images of class 0
    rows = unit_rows(torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0)))
    chosen = choose_thresholds(rows, labels, seed=0)  # whose sample of five images has not both
    assert chosen.verify == ()
    assert len(chosen.identify) == 2
