"""The randomisation test against scipy's, Holm's correction against its definition, differences by class by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from circlet.compare import holm, randomization_test
from circlet.compare.significance import differences, mean_over_seeds

p_values = st.lists(st.floats(0, 1), max_size=12)


def brute_force(ps, level):
    """Holm's procedure as he wrote it: reject the smallest while it is at most level / (number not yet rejected)."""
    left, rejected = dict(enumerate(ps)), set()
    while left:
        smallest = min(left, key=left.get)
        if left[smallest] * len(left) > level:
            return rejected
        rejected.add(smallest)
        del left[smallest]
    return rejected


@given(p_values, st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(ps, level):
    assert {i for i, p in enumerate(holm(ps)) if p <= level} == brute_force(ps, level)


@given(p_values)
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(ps):
    found = holm(ps)
    assert all(p <= own <= min(1.0, len(ps) * p + 1e-12) for p, own in zip(ps, found, strict=True))
    assert all(found[i] <= found[j] for i in range(len(ps)) for j in range(len(ps)) if ps[i] < ps[j])


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8))
def test_the_exact_test_is_scipys(values):
    rounded = np.round(values, 3)
    found = stats.permutation_test((rounded,), lambda x, axis: np.abs(x.sum(axis=axis)).round(9),
                                   permutation_type="samples", alternative="greater", vectorized=True)  # fmt: skip
    assert randomization_test(rounded) == pytest.approx(found.pvalue)


def test_many_classes_are_tested_by_draws():
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 0.3, 40)
    found = randomization_test(values, draws=20_000)
    assert found == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.3)
    assert randomization_test(np.full(40, 0.1)) == pytest.approx(1 / 10_001)
    assert randomization_test(np.zeros(40)) == 1.0


def test_p_values_of_chance_are_uniform():
    rng = np.random.default_rng(1)
    found = [randomization_test(rng.normal(0, 1, 10)) for _ in range(400)]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.045)


def classes(values, queries=(1, 3, 5, 2, 4, 3, 2, 6)):
    return {
        str(c): {"map@r": v, "recall@1": v, "queries": n} for c, (v, n) in enumerate(zip(values, queries, strict=True))
    }


def test_differences_are_those_of_the_means_over_queries():
    rng = np.random.default_rng(0)
    before, after, same = rng.uniform(0, 1, 8), rng.uniform(0, 1, 8), rng.uniform(0, 1e-4, 8)
    queries = np.array([1, 3, 5, 2, 4, 3, 2, 6])
    found = differences({"a": classes(after), "b": classes(before + 0.2 + same)}, classes(before))
    assert found["a"].interval.mean == pytest.approx(np.average(after - before, weights=queries))
    assert found["a"].p_value == randomization_test((after - before) * queries)
    assert found["b"].is_real
    assert found["b"].corrected == 2 * found["b"].p_value == pytest.approx(2 * 2 / 2**8)
    assert not found["a"].is_real


def test_classes_that_are_not_in_both_are_left_out():
    few = {name: values for name, values in classes([0.5] * 8).items() if name < "3"}
    assert mean_over_seeds([classes([0.5] * 8), few]).keys() == few.keys()
    assert mean_over_seeds([]) == {}
    assert mean_over_seeds([classes([0.25] * 8), classes([0.75] * 8)])["1"] == {
        "map@r": 0.5,
        "recall@1": 0.5,
        "queries": 3,
    }
    assert differences({"a": few, "b": {}}, classes([0.25] * 8))["a"].interval.mean == 0.25
    assert differences({"b": {}}, classes([0.25] * 8)) == {}


def test_one_class_shows_nothing():
    one = {"0": {"map@r": 0.9, "recall@1": 1.0, "queries": 4}}
    found = differences({"a": one}, {"0": {"map@r": 0.1, "recall@1": 1.0, "queries": 4}})["a"]
    assert (found.corrected, found.is_real) == (1.0, False)
    assert np.isnan(found.interval.low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: holm([0.5, 1.5]), r"p_values: found \[0.5, 1.5\], expected numbers from 0 to 1"),
        (lambda: randomization_test(np.zeros(0)), r"values: found shape \(0,\)"),
        (lambda: randomization_test(np.zeros((2, 2))), r"values: found shape \(2, 2\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
