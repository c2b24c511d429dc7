"""Intervals over classes against the bootstrap written out, and how often they cover the truth."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet.evaluate.intervals import Interval, class_interval


def oracle(values, labels, confidence, draws, seed):
    """Classes drawn with replacement, all their queries together, one draw at a time."""
    classes = sorted(set(labels))
    drawn = np.random.default_rng(seed).multinomial(len(classes), [1 / len(classes)] * len(classes), size=draws)
    means = []
    for times in drawn:
        pool = []
        for c, t in zip(classes, times, strict=True):
            pool += [value for value, label in zip(values, labels, strict=True) if label == c] * int(t)
        means.append(sum(pool) / len(pool))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(sum(values) / len(values), low, high)


@given(
    data=st.lists(st.tuples(st.floats(-1, 1), st.integers(-3, 4)), min_size=2, max_size=25).filter(
        lambda rows: len({label for _, label in rows}) > 1
    ),
    confidence=st.sampled_from([0.5, 0.68, 0.95]),
    seed=st.integers(0, 5),
)
def test_it_is_the_bootstrap_over_classes(data, confidence, seed):
    values, labels = map(list, zip(*data, strict=True))
    found = class_interval(
        torch.tensor(values, dtype=torch.float64), torch.tensor(labels), confidence=confidence, draws=50, seed=seed
    )
    assert found == pytest.approx(oracle(values, labels, confidence, 50, seed), abs=1e-9)


@given(seed=st.integers(0, 99), shift=st.floats(-2, 2))
def test_order_and_names_of_classes_do_not_matter_and_a_shift_shifts(seed, shift):
    generator = torch.Generator().manual_seed(seed)
    values, labels = torch.rand(30, generator=generator, dtype=torch.float64), torch.arange(30) // 5
    found = class_interval(values, labels)
    order = torch.randperm(30, generator=generator)
    assert class_interval(values[order], 7 * labels[order] - 3) == pytest.approx(found, abs=1e-12)
    assert class_interval(values + shift, labels) == pytest.approx([part + shift for part in found], abs=1e-9)
    assert found.low <= found.mean <= found.high
    assert found.half_width == pytest.approx((found.high - found.low) / 2)


def test_queries_of_a_class_count_together():
    """A hundred copies of each query say nothing new, though a bootstrap over queries would believe them."""
    values, labels = torch.rand(20, generator=torch.Generator().manual_seed(0)), torch.arange(20) // 2
    once, often = class_interval(values, labels), class_interval(values.repeat(100), labels.repeat(100))
    assert once == pytest.approx(often, abs=1e-6)


def test_it_covers_the_truth_about_as_often_as_it_says():
    generator, hits, trials = torch.Generator().manual_seed(0), 0, 200
    labels = torch.arange(120) // 4
    for trial in range(trials):
        classes = torch.randn(30, generator=generator)  # of mean 0
        values = classes[labels] + 0.3 * torch.randn(120, generator=generator)
        found = class_interval(values, labels, confidence=0.9, draws=300, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.82 <= hits / trials <= 0.95  # a percentile interval of 30 classes is a little too short


def test_more_confidence_is_a_longer_interval():
    values, labels = torch.rand(60, generator=torch.Generator().manual_seed(1)), torch.arange(60) // 3
    widths = [class_interval(values, labels, confidence=c).half_width for c in (0.5, 0.68, 0.95, 0.99)]
    assert widths == sorted(widths)
    assert class_interval(torch.ones(60), labels) == Interval(1.0, 1.0, 1.0)


@pytest.mark.parametrize("size", [1, 5])
def test_one_class_has_no_interval(size):
    found = class_interval(torch.full((size,), 0.25), torch.full((size,), 9))
    assert found.mean == 0.25
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.half_width)


@pytest.mark.parametrize(
    ("values", "labels", "confidence", "message"),
    [
        (torch.ones(0), torch.ones(0, dtype=torch.int64), 0.9, r"values, labels: found shapes \(0,\) and \(0,\)"),
        (torch.ones(3), torch.arange(2), 0.9, r"values, labels: found shapes \(3,\) and \(2,\), expected \(n,\) twice"),
        (torch.ones(2, 2), torch.arange(4).view(2, 2), 0.9, r"values, labels: found shapes \(2, 2\)"),
        (torch.ones(3), torch.arange(3), 1.0, "confidence: found 1.0, expected a share between 0 and 1"),
        (torch.ones(3), torch.arange(3), 0.0, "confidence: found 0.0"),
    ],
)
def test_errors(values, labels, confidence, message):
    with pytest.raises(ValueError, match=message):
        class_interval(values, labels, confidence=confidence)
