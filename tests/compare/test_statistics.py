"""Intervals against scipy, their coverage, and pairing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from circlet.compare import mean_interval, paired_difference

values = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


@given(values, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_that_of_scipy(xs, confidence):
    found = mean_interval(xs, confidence=confidence)
    assert found.mean == pytest.approx(np.mean(xs))
    if np.ptp(xs) < 1e-6:  # scipy gives nan for a standard error of 0
        assert found.half_width < 1e-4
        return
    expected = stats.t.interval(confidence, len(xs) - 1, loc=np.mean(xs), scale=stats.sem(xs))
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-9, atol=1e-9)


@given(values)
def test_interval_ends_where_the_t_test_just_rejects(xs):
    found = mean_interval(xs)
    if found.half_width > 1e-3:
        assert stats.ttest_1samp(xs, found.low).pvalue == pytest.approx(0.05)
        assert stats.ttest_1samp(xs, found.high).pvalue == pytest.approx(0.05)


def test_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 3))
    covered = [interval.low <= 3.0 <= interval.high for interval in map(mean_interval, draws)]
    assert 0.935 < np.mean(covered) < 0.965  # 0.95 with a standard error of 0.005


def test_one_value_has_no_interval():
    found = mean_interval([0.7])
    assert found.mean == 0.7
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_pairing_takes_out_what_seeds_share():
    seeds = np.random.default_rng(1).normal(0, 1, 5)
    noise = np.random.default_rng(2).normal(0, 0.01, 5)
    baseline, better = seeds.tolist(), (seeds + 0.1 + noise).tolist()
    found = paired_difference(better, baseline)
    test = stats.ttest_rel(better, baseline)
    np.testing.assert_allclose((found.low, found.high), test.confidence_interval(0.95))
    assert found.low > 0
    assert mean_interval(better).low < mean_interval(baseline).high  # unpaired they overlap


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "values: found none"),
        (lambda: mean_interval([1.0], confidence=95), "confidence: found 95"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), "baseline: found 1 values for 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
