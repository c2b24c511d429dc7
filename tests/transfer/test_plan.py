"""The plan keeps to the time that there is, or says before anything starts that it cannot."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from circlet.transfer import Facts, TransferConfig, make_plan
from circlet.transfer.plan import LEAST_NETWORK_SECONDS

NUMBERS = st.integers(0, 30_000)
FACTS = st.builds(Facts, NUMBERS, NUMBERS, NUMBERS, NUMBERS, rate=st.floats(0.5, 5000), area_share=st.floats(0.1, 1.0))
STAGES = st.sampled_from([("closed_form",), ("closed_form", "head"), ("closed_form", "head", "network"), ("network",)])
BATCHES = st.integers(2, 512)


@given(facts=FACTS, stages=STAGES, minutes=st.floats(0.1, 600), gone=st.floats(0, 60), batch=BATCHES)
@settings(max_examples=300)
def test_it_keeps_to_the_minutes(facts, stages, minutes, gone, batch):
    config = TransferConfig(stages, minutes=minutes)
    without = make_plan(TransferConfig(("closed_form",)), facts, batch, 300)
    if without.total + gone > 1.1 * 60 * minutes:
        with pytest.raises(ValueError, match=rf"minutes: found {re.escape(f'{minutes:g}')}, expected at least "):
            make_plan(config, facts, batch, 300, gone=gone)
        return
    plan = make_plan(config, facts, batch, 300, gone=gone)
    assert plan.total == pytest.approx(plan.features + plan.heads + (plan.network or 0) + plan.after)
    assert plan.features == pytest.approx(facts.missing / facts.rate)
    assert plan.total + gone <= 1.1 * 60 * minutes + 1e-6
    if plan.network is None:
        assert plan == without
        assert plan.steps == 0
    else:
        assert plan.total + gone == pytest.approx(60 * minutes)
        assert plan.network >= LEAST_NETWORK_SECONDS
        assert plan.steps >= 9


@given(facts=FACTS, stages=STAGES, batch=BATCHES, steps=st.integers(1, 5000))
def test_without_minutes_it_is_what_the_stages_take(facts, stages, batch, steps):
    plan = make_plan(TransferConfig(stages), facts, batch, steps)
    assert (plan.network is None) == ("network" not in stages)
    assert plan.steps == (steps if "network" in stages else 0)
    assume("network" in stages)
    longer = make_plan(TransferConfig(stages), facts, batch, 2 * steps)
    assert longer.network == pytest.approx(2 * plan.network)
    assert longer.total > plan.total


@given(facts=FACTS, batch=BATCHES)
def test_more_minutes_are_more_steps(facts, batch):
    steps = []
    for minutes in (5.0, 20.0, 80.0, 1e4):
        try:
            steps.append(make_plan(TransferConfig(("closed_form", "head"), minutes=minutes), facts, batch, 300).steps)
        except ValueError:
            assert not steps  # what is enough for a plan stays enough
    assert steps == sorted(steps)


def test_too_short_says_what_takes_the_time():
    facts = Facts(missing=6000, tested=3000, trained=2400, validated=600, rate=50.0, area_share=0.5)
    config = TransferConfig(("closed_form", "head"), minutes=1.0)
    message = (r"minutes: found 1, expected at least 3\.2: the features of 6000 images take 120 s here "
               r"\(50 images a second\), the rest 70 s")  # fmt: skip
    with pytest.raises(ValueError, match=message):
        make_plan(config, facts, 80, 300, gone=30.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"stages": ("head", "closed_form")},
            "transfer.stages: found head closed_form, expected each at most once, in",
        ),
        ({"stages": ("head", "head")}, "transfer.stages: found head head, expected each at most once"),
        ({"stages": ("head",), "minutes": 0.0}, "minutes: found 0.0, expected a number above 0"),
        ({"stages": ("head",), "minutes": float("nan")}, "minutes: found nan, expected a number above 0"),
        ({"minutes": 5.0}, "minutes: found with no transfer.stages, expected some"),
        ({"shrinkages": ()}, r"transfer.shrinkages: found \(\), expected numbers of 0 or more"),
        ({"shrinkages": (0.1, -1.0)}, "transfer.shrinkages: found"),
        ({"folds": 1}, "transfer.folds: found 1, expected at least 2"),
        ({"mixes": (0.5, 1.5)}, "transfer.mixes: found"),
        ({"mixes": ()}, "transfer.mixes: found"),
        ({"low_rank": -1}, "transfer.low_rank: found -1, expected 0 or a rank"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TransferConfig(**settings)
