"""Intervals of rates, whose thresholds are chosen anew in each draw, against sets of copied classes written out."""

import itertools
import math

import numpy as np
import pytest
import torch

from circlet.evaluate import leave_one_class_out, open_set, open_set_intervals
from circlet.evaluate.accepting import lowest_threshold, num_allowed
from circlet.evaluate.intervals import class_draws, class_interval, class_intervals
from circlet.evaluate.open_set import OpenSetScores, auroc
from circlet.evaluate.pair_intervals import pair_intervals
from circlet.evaluate.pair_scores import pair_scores
from circlet.similarity import unit_rows


def a_set(seed=0, n=48, num_classes=7, dim=5, noise=0.8):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (n,), generator=generator)
    centres = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    return unit_rows(centres[labels] + noise * torch.randn(n, dim, generator=generator, dtype=torch.float64)), labels


def all_weights(num_classes, draws, seed):
    return np.concatenate(list(class_draws(num_classes, draws, seed)))


def copied_pairs(rows, labels, folds, weights):
    """Similarities of the pairs of one class, and of two, of a set with each class as often as it was drawn."""
    names = sorted(set(zip(folds.tolist(), labels.tolist(), strict=True)))
    copies = []
    for i, name in enumerate(zip(folds.tolist(), labels.tolist(), strict=True)):
        copies += [(i, name, copy) for copy in range(int(weights[names.index(name)]))]
    same, different = [], []
    for (i, one, first), (j, other, second) in itertools.combinations(copies, 2):
        if one == other and first == second:
            same.append(float(rows[i] @ rows[j]))
        elif one != other and one[0] == other[0]:
            different.append(float(rows[i] @ rows[j]))
    return np.array(same), np.array(different)


def tar_at(same, different, far):
    """TAR at the lowest threshold that keeps the FAR."""
    falling = torch.from_numpy(different).sort(descending=True).values
    return (same >= lowest_threshold(falling, num_allowed(far, len(falling))).threshold).mean()


@pytest.mark.parametrize("folds", [1, 2])
def test_pairs_weigh_the_product_of_how_often_their_classes_were_drawn(folds):
    rows, labels = a_set()
    part = torch.arange(len(labels)) % folds
    pairs = pair_scores(rows, labels, part)
    fars, threshold, draws = (0.3, 0.05), 0.5, 12
    found = pair_intervals(pairs, fars=fars, thresholds=[threshold], draws=draws, seed=4)
    tars = {far: [] for far in fars}
    at = {"far": [], "tar": []}
    for weights in all_weights(len(pairs.sizes), draws, 4):
        same, different = copied_pairs(rows, labels, part, weights)
        at["far"].append((different >= threshold).mean())
        at["tar"].append((same >= threshold).mean())
        for far in fars:
            tars[far].append(tar_at(same, different, far))
    for far in fars:
        low, high = np.quantile(tars[far], [0.025, 0.975])
        assert found.tar_at_far[far][1:] == pytest.approx((low, high))
    for name, values in at.items():
        assert getattr(found, name)[threshold][1:] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


@pytest.mark.parametrize("groups", [None, 9])
def test_pairs_are_all_pairs(groups):
    rows, labels = a_set(n=60)
    group = torch.arange(60) if groups is None else torch.arange(60) % groups
    found = pair_scores(rows, labels, groups=group)
    same = [float(rows[i] @ rows[j]) for i, j in itertools.combinations(range(60), 2)
            if labels[i] == labels[j] and group[i] != group[j]]  # fmt: skip
    different = [float(rows[i] @ rows[j]) for i, j in itertools.combinations(range(60), 2) if labels[i] != labels[j]]
    np.testing.assert_allclose(found.same, sorted(same, reverse=True), atol=1e-12)
    np.testing.assert_allclose(found.different, sorted(different, reverse=True), atol=1e-12)
    assert found.num_different == len(different)
    for far in (0.5, 0.1, 0.01):
        threshold, accepted = found.threshold_at(far)
        assert accepted / len(different) == found.far(threshold) <= far
        assert found.tar(threshold) == np.mean([value >= threshold for value in same])


def test_of_many_pairs_the_highest_are_kept(monkeypatch):
    rows, labels = a_set(n=300)
    whole = pair_scores(rows, labels)
    monkeypatch.setattr("circlet.evaluate.pair_scores.KEPT", 2000)
    cut = pair_scores(rows, labels)
    assert 2000 <= len(cut.different) < len(whole.different)
    assert torch.equal(cut.different, whole.different[: len(cut.different)])
    assert (cut.num_different, cut.far(0.95)) == (whole.num_different, whole.far(0.95))
    assert cut.threshold_at(0.01) == whole.threshold_at(0.01)
    assert cut.threshold_at(1.0).accepted < 2000 + 40
    one, other = (pair_intervals(each, fars=(0.01,), thresholds=(0.95,), draws=50) for each in (cut, whole))
    assert one == other


def test_a_sample_of_the_images_stands_for_too_many():
    rows, labels = a_set(n=300)
    found = pair_scores(rows, labels, max_pairs=5000)
    number = int(found.sizes.sum())
    assert number * (number - 1) // 2 == pytest.approx(5000, rel=0.05)
    assert torch.equal(found.same, pair_scores(rows, labels, max_pairs=5000).same)


def copied(scores, weights):
    """The scores of a set with each class as often as it was drawn."""
    known, unknown = (weights[part].astype(int) for part in (scores.known_class, scores.unknown_class))
    of_known = [torch.from_numpy(np.repeat(part.numpy(), known)) for part in
                (scores.known_own, scores.known_rank, scores.known_best, scores.known_class)]  # fmt: skip
    of_unknown = [torch.from_numpy(np.repeat(part.numpy(), unknown)) for part in
                  (scores.unknown_best, scores.unknown_class)]  # fmt: skip
    return OpenSetScores(*of_known, *of_unknown, scores.gallery_classes, scores.gallery_images)


@pytest.mark.parametrize("seed", [0, 1])
def test_open_set_rates_are_those_of_drawn_classes(seed):
    rows, labels = a_set(seed, n=80)
    scores = leave_one_class_out(rows, labels)
    fpirs, threshold, draws = (0.4, 0.1), 0.6, 25
    found = open_set_intervals(scores, fpirs=fpirs, thresholds=[threshold], draws=draws, seed=3)
    sets = [copied(scores, weights) for weights in all_weights(7, draws, 3)]
    for fpir in fpirs:
        values = [each.at(each.threshold_at(fpir)).fnir[1] for each in sets]
        assert found.fnir_at_fpir[fpir][1:] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
        assert found.fnir_at_fpir[fpir].mean == scores.at(scores.threshold_at(fpir)).fnir[1]
    values = [auroc(each.known_best, each.unknown_best) for each in sets]
    assert found.auroc[1:] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    points = [each.at(threshold) for each in sets]
    at = found.at_threshold[threshold]
    for name, values in (("fpir", [p.fpir for p in points]), ("fnir", [p.fnir[1] for p in points])):
        assert getattr(at, name)[1:] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    plain = scores.at(threshold)
    assert (at.fpir.mean, at.fnir.mean, at.baks.mean, at.baus.mean) == pytest.approx(
        (plain.fpir, plain.fnir[1], plain.baks, plain.baus)
    )


def test_known_and_unknown_classes_are_drawn_among_themselves():
    """Of one class each there is no interval, and no draw without a probe of either kind."""
    rows, labels = a_set(n=60)
    enrolled = torch.arange(60) < 20
    kept = ~enrolled & (labels != 3)
    scores = open_set(rows[kept], labels[kept], rows[enrolled & (labels < 3)], labels[enrolled & (labels < 3)])
    assert scores.num_unknown
    alone = leave_one_class_out(rows, labels)
    only = alone.known_class == 1
    others = alone.unknown_class != 1
    split = OpenSetScores(
        alone.known_own[only], alone.known_rank[only], alone.known_best[only], alone.known_class[only],
        alone.unknown_best[others], alone.unknown_class[others], 6, 50,
    )  # fmt: skip
    found = open_set_intervals(split, fpirs=(0.2,), thresholds=(0.5,))
    assert math.isnan(found.fnir_at_fpir[0.2].low)
    assert math.isnan(found.at_threshold[0.5].fnir.low)
    assert found.at_threshold[0.5].fpir.low < found.at_threshold[0.5].fpir.high


def test_means_of_the_same_queries_share_their_draws():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(9, (80,), generator=generator)
    values = {name: torch.rand(80, generator=generator, dtype=torch.float64) for name in "abc"}
    values["b"] = values["b"].masked_fill(torch.arange(80) % 3 == 0, torch.nan)
    found = class_intervals(values, labels, draws=300)
    assert list(found) == ["a", "b", "c"]
    for name in "ac":
        assert found[name] == pytest.approx(class_interval(values[name], labels, draws=300))
    counted = ~values["b"].isnan()
    assert found["b"] == pytest.approx(class_interval(values["b"][counted], labels[counted], draws=300))


@pytest.mark.parametrize("chunk", [1, 17, 10**6])
def test_draws_do_not_depend_on_how_they_are_cut(chunk):
    whole = np.concatenate(list(class_draws(6, 40, 2)))
    assert (whole == np.concatenate(list(class_draws(6, 40, 2, chunk=chunk)))).all()
    assert (whole.sum(1) == 6).all()


def test_intervals_of_far_cover_the_truth_about_as_often_as_they_say():
    """Of sets of classes drawn from one world; the truth is the mean over all of them."""
    threshold, found = 0.6, []
    for trial in range(150):
        pairs = pair_scores(*a_set(trial, n=160, num_classes=20, dim=8))
        found.append(
            pair_intervals(pairs, thresholds=(threshold,), draws=100, confidence=0.9, seed=trial).far[threshold]
        )
    truth = np.mean([each.mean for each in found])
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.85  # rather too long than too short
