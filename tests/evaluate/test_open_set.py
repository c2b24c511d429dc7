"""Open-set figures against the definitions in plain loops, scikit-learn, and what must not change them."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from circlet.evaluate import leave_one_class_out, open_set, open_set_metrics
from circlet.evaluate.class_scores import class_scores
from circlet.evaluate.open_set import auroc


def oracle_scores(probes, gallery, gallery_labels, skip=lambda i, j: False):
    """Of each probe {class: highest similarity of its enrolled images}."""
    unit = [row / n if (n := np.linalg.norm(row)) else row for row in np.asarray(probes, dtype=float)]
    items = [row / n if (n := np.linalg.norm(row)) else row for row in np.asarray(gallery, dtype=float)]
    found = []
    for i, probe in enumerate(unit):
        best = defaultdict(lambda: -np.inf)
        for j, (item, label) in enumerate(zip(items, gallery_labels, strict=True)):
            if not skip(i, j):
                best[label] = max(best[label], float(probe @ item))
        found.append(dict(best))
    return found


def oracle_point(scores, labels, threshold, ranks):
    """FPIR, FNIR, BAKS, BAUS by their definitions."""
    known = [(own, label) for own, label in zip(scores, labels, strict=True) if label in own]
    unknown = [(own, label) for own, label in zip(scores, labels, strict=True) if label not in own]
    fpir = np.mean([any(value >= threshold for value in own.values()) for own, _ in unknown])
    fnir, right = {}, defaultdict(list)
    for R in ranks:
        missed = []
        for own, label in known:
            rank = sum(value >= own[label] for value in own.values())
            missed.append(not (rank <= R and own[label] >= threshold))
        fnir[R] = np.mean(missed)
    for own, label in known:
        first = sum(value >= own[label] for value in own.values()) == 1
        right[label].append(first and own[label] >= threshold)
    refused = defaultdict(list)
    for own, label in unknown:
        refused[label].append(max(own.values()) < threshold)
    baks, baus = (np.mean([np.mean(values) for values in part.values()]) for part in (right, refused))
    return fpir, fnir, baks, baus


def a_set(seed=0, n=70, num_classes=9, dim=6, noise=0.6):
    """Float64 and no ties."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % num_classes
    centres = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    return centres[labels] + noise * torch.randn(n, dim, generator=generator, dtype=torch.float64), labels


def a_split(seed=0):
    """Probes of all classes, and a gallery of some."""
    rows, labels = a_set(seed)
    enrolled = (labels < 5) & (torch.arange(len(labels)) < 36)
    return rows[~enrolled], labels[~enrolled], rows[enrolled], labels[enrolled]


@st.composite
def exact_sets(draw, least=4):
    """Rows of ±1/2 in four dimensions: unit, every product exact, ties and copies everywhere."""
    n = draw(st.integers(least, 16))
    codes = draw(st.lists(st.integers(0, 15), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(-2, 3), min_size=n, max_size=n))
    return torch.tensor([[0.5 if code >> bit & 1 else -0.5 for bit in range(4)] for code in codes]), labels


@pytest.mark.parametrize("block_size", [7, 64, 2048])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_definitions(block_size, seed):
    probes, labels, gallery, enrolled = a_split(seed)
    thresholds, ranks, fpirs = (0.2, 0.6, 0.9), (1, 2, 5), (0.5, 0.2, 0.05)
    found = open_set(
        probes, labels, gallery, enrolled, thresholds=thresholds, ranks=ranks, fpirs=fpirs, block_size=block_size
    )
    scores = oracle_scores(probes, gallery, enrolled.tolist())
    for threshold in (*thresholds, *(point.threshold for point in found.at_fpir.values())):
        at = found.at_threshold.get(threshold) or next(p for p in found.at_fpir.values() if p.threshold == threshold)
        fpir, fnir, baks, baus = oracle_point(scores, labels.tolist(), threshold, ranks)
        assert (at.fpir, at.baks, at.baus) == pytest.approx((fpir, baks, baus))
        assert at.fnir == pytest.approx(fnir)
    known = [label in own for own, label in zip(scores, labels.tolist(), strict=True)]
    assert found.auroc == pytest.approx(roc_auc_score(known, [max(own.values()) for own in scores]))
    assert (found.num_known, found.num_unknown) == (sum(known), len(known) - sum(known))
    assert (found.gallery_classes, found.gallery_images) == (5, len(gallery))


@pytest.mark.parametrize("seed", range(3))
def test_a_threshold_for_a_fpir_keeps_it_and_no_lower_one_does(seed):
    probes, labels, gallery, enrolled = a_split(seed)
    found = open_set(probes, labels, gallery, enrolled, fpirs=(1.0, 0.5, 0.1, 0.001))
    scores = oracle_scores(probes, gallery, enrolled.tolist())
    unknown = [max(own.values()) for own, label in zip(scores, labels.tolist(), strict=True) if label not in own]
    for fpir, point in found.at_fpir.items():
        assert point.fpir <= fpir
        lower = [value for value in unknown if value < point.threshold]
        if lower:
            assert np.mean([value >= max(lower) for value in unknown]) > fpir


@given(exact_sets(), st.integers(1, 8), st.randoms(use_true_random=False))
def test_with_ties_it_is_the_definitions_and_order_does_not_matter(made, block_size, random):
    rows, labels = made
    enrolled = [i for i, label in enumerate(labels) if label < 2 and i % 2]
    probes = [i for i in range(len(labels)) if i not in enrolled]
    held = {labels[i] for i in enrolled}
    if not enrolled or len({labels[i] in held for i in probes}) < 2:
        return
    of_probes, of_gallery = [labels[i] for i in probes], [labels[i] for i in enrolled]
    given_ = {"thresholds": (0.0, 0.5, 1.0), "ranks": (1, 2), "fpirs": (0.5, 0.1)}
    found = open_set(rows[probes], of_probes, rows[enrolled], of_gallery, block_size=block_size, **given_)
    scores = oracle_scores(rows[probes], rows[enrolled], of_gallery)
    for threshold, at in found.at_threshold.items():
        fpir, fnir, baks, baus = oracle_point(scores, of_probes, threshold, (1, 2))
        assert (at.fpir, at.baks, at.baus) == pytest.approx((fpir, baks, baus))
        assert at.fnir == pytest.approx(fnir)
    random.shuffle(probes)
    random.shuffle(enrolled)
    names = {label: 7 - 3 * label for label in range(-2, 4)}
    again = open_set(
        rows[probes], [names[labels[i]] for i in probes], rows[enrolled], [names[labels[i]] for i in enrolled], **given_
    )
    for name in ("at_threshold", "at_fpir"):  # of their means over classes the last bit depends on the order
        for ours, theirs in zip(getattr(again, name).values(), getattr(found, name).values(), strict=True):
            assert (ours.threshold, ours.fpir, ours.fnir) == (theirs.threshold, theirs.fpir, theirs.fnir)
            assert (ours.baks, ours.baus) == pytest.approx((theirs.baks, theirs.baus))
    assert replace(again, at_threshold=found.at_threshold, at_fpir=found.at_fpir) == found


@pytest.mark.parametrize("block_size", [5, 2048])
def test_each_class_is_left_out_once(block_size):
    """Against one gallery after the other: all other images of a probe's class, then none of them."""
    rows, labels = a_set(n=40, num_classes=6)
    labels[-1] = 77  # alone: it is never known
    found = leave_one_class_out(rows, labels, block_size=block_size)
    known = oracle_scores(rows, rows, labels.tolist(), skip=lambda i, j: i == j)
    for i, (own, label) in enumerate(zip(known[:-1], labels.tolist()[:-1], strict=True)):
        assert float(found.known_own[i]) == pytest.approx(own[label])
        assert int(found.known_rank[i]) == sum(value >= own[label] for value in own.values())
        assert float(found.known_best[i]) == pytest.approx(max(own.values()))
    unknown = [max(value for name, value in own.items() if name != label) for own, label in
               zip(known, labels.tolist(), strict=True)]  # fmt: skip
    np.testing.assert_allclose(found.unknown_best, unknown, atol=1e-12)
    assert (len(found.known_own), len(found.unknown_best), found.gallery_classes) == (39, 40, 6)
    assert found.gallery_images == int(np.mean([(labels != label).sum() for label in labels]))


def test_a_probe_passes_over_its_own_group():
    rows, labels = a_set(n=40, num_classes=5)
    groups = torch.arange(40) % 11
    found = leave_one_class_out(rows, labels, groups=groups)
    scores = oracle_scores(rows, rows, labels.tolist(), skip=lambda i, j: groups[i] == groups[j])
    np.testing.assert_allclose(
        found.known_own, [own[label] for own, label in zip(scores, labels.tolist(), strict=True)], atol=1e-12
    )
    with_gallery = leave_one_class_out(
        rows, labels, gallery=rows, gallery_labels=labels, groups=groups, gallery_groups=groups
    )
    for name in ("known_own", "known_rank", "known_best", "unknown_best"):
        torch.testing.assert_close(getattr(found, name), getattr(with_gallery, name))


def test_leaving_out_is_open_set_with_the_class_taken_away():
    """The figures of single classes, each with a gallery of its own, are those of all at once."""
    rows, labels = a_set(n=60, num_classes=5)
    gallery, enrolled = rows[30:], labels[30:]
    probes, of_probes = rows[:30], labels[:30]
    scores = leave_one_class_out(probes, of_probes, gallery=gallery, gallery_labels=enrolled)
    let_in = 0
    for label in range(5):
        without = enrolled != label
        found = open_set(probes, of_probes, gallery[without], enrolled[without], thresholds=(0.7,))
        let_in += round(found.at_threshold[0.7].fpir * int((of_probes == label).sum()))
    assert scores.at(0.7).fpir == pytest.approx(let_in / 30)
    assert scores.gallery_classes == 4


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_scale_rotation_and_type_do_not_matter(scale):
    probes, labels, gallery, enrolled = a_split()
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q
    one = open_set(probes, labels, gallery, enrolled)
    other = open_set((probes @ turn * scale).float(), labels.int(), (gallery @ turn * scale).float(), enrolled)
    assert other.auroc == pytest.approx(one.auroc)
    for fpir, point in one.at_fpir.items():
        assert (other.at_fpir[fpir].fpir, other.at_fpir[fpir].fnir) == (point.fpir, point.fnir)


def test_the_curve_falls_and_holds_the_points_asked_for():
    rows, labels = a_set(n=400, num_classes=20, noise=1.0)
    scores = leave_one_class_out(rows, labels)
    found = open_set_metrics(scores, fpirs=(0.5, 0.01), ranks=(1,))
    thresholds, fpir, fnir = np.array(found.det).T
    assert (np.diff(thresholds) < 0).all()
    assert (np.diff(fpir) > 0).all()
    assert (np.diff(fnir) <= 0).all()
    assert (fpir[0], fpir[-1]) == (0.0, 1.0)
    assert len(fpir) <= 102
    for threshold, rate, missed in found.det:
        at = scores.at(threshold)
        assert (at.fpir, at.fnir[1]) == pytest.approx((rate, missed))


def test_nothing_known_of_anything():
    """Collapsed and zero embeddings: all classes tie, so nobody is recognised and any threshold lets all in or none."""
    labels = torch.arange(12) % 4
    for rows in (torch.ones(12, 3), torch.zeros(12, 3)):
        found = open_set(rows, labels, rows[:6], labels[:6] % 3, fpirs=(0.5,), thresholds=(-1.0,))
        assert found.auroc == 0.5
        assert found.at_fpir[0.5].fpir == 0
        assert found.at_fpir[0.5].fnir == {1: 1.0, 5: 1.0}
        assert found.at_threshold[-1.0].fpir == 1
        assert found.at_threshold[-1.0].fnir == {1: 1.0, 5: 0.0}  # of three that tie its own is the last


def test_auroc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    higher, lower = rng.integers(0, 9, 50) / 8, rng.integers(-3, 7, 30) / 8
    expected = roc_auc_score([1] * 50 + [0] * 30, [*higher, *lower])
    assert auroc(torch.from_numpy(higher), torch.from_numpy(lower)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe_labels": [0, 1, 0, 1]}, "found no unknown probe among 4, expected at least one whose class is not in"),
        (
            {"probe_labels": [5, 6, 7, 8]},
            "probe_labels: found no known probe among 4, expected at least one whose class is in g",
        ),
        ({"probe_labels": [0, 1, 2]}, r"probe_labels: found shape \(3,\), expected \(4,\)"),
        ({"gallery": torch.ones(2, 3)}, "gallery: found dimension 3 on cpu, expected that of probes, 4 on cpu"),
        ({"gallery": torch.ones(0, 4), "gallery_labels": []}, r"gallery: found shape \(0, 4\)"),
        ({"probes": torch.full((4, 4), torch.nan)}, "probes: found 4 rows with nan or inf"),
        ({"fpirs": (0.0,)}, "fpirs: found 0.0, expected fractions above 0"),
        ({"ranks": (0,)}, "ranks: found 0, expected integers of 1 or more"),
        ({"thresholds": (float("nan"),)}, "thresholds: found nan, expected numbers"),
        ({"block_size": 0}, "block_size: found 0, expected at least 1"),
    ],
)
def test_errors(changes, message):
    given_ = {
        "probes": torch.eye(4),
        "probe_labels": [0, 1, 2, 3],
        "gallery": torch.eye(4)[:2],
        "gallery_labels": [0, 1],
    }
    with pytest.raises(ValueError, match=message):
        open_set(**{**given_, **changes})


def test_errors_of_leaving_out():
    with pytest.raises(ValueError, match="labels: found 1 class, expected at least 2"):
        leave_one_class_out(torch.eye(3), [4, 4, 4])
    with pytest.raises(ValueError, match="labels: found 3 images without another of their class to find"):
        leave_one_class_out(torch.eye(3), [0, 1, 2])
    with pytest.raises(ValueError, match="gallery and gallery_labels: found one without the other"):
        leave_one_class_out(torch.eye(3), [0, 1, 2], gallery=torch.eye(3))
    with pytest.raises(ValueError, match="gallery_groups: found without"):
        leave_one_class_out(torch.eye(3), [0, 1, 1], gallery=torch.eye(3), gallery_labels=[0, 1, 1], groups=[0, 1, 2])


def test_a_class_that_is_not_enrolled_has_no_rank():
    rows = torch.eye(3)
    found = class_scores(rows, torch.tensor([0, 1, 9]), rows[:2], torch.tensor([0, 1]))
    assert found.rank.tolist() == [1, 1, 0]
    assert found.own.tolist() == [1.0, 1.0, -torch.inf]
