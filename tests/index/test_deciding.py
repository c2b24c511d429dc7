"""What a threshold decides, and what it is said to mean."""

import math
from dataclasses import replace

import pytest
import torch

from circlet.evaluate.thresholds import choose_thresholds
from circlet.index import verify
from circlet.index.deciding import Candidate, identified, identify_rule, own_rule, percent
from tests.index.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def thresholds():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20).repeat_interleave(10)
    rows = torch.randn(20, 16, generator=generator)[labels] + 0.7 * torch.randn(200, 16, generator=generator)
    return choose_thresholds(rows, labels, fpirs=(0.1, 0.01), fars=(0.01, 1e-3))


def test_at_or_above_the_threshold_is_accepted():
    nearest = [Candidate("ant", 0.5, "a.jpg"), Candidate("bee", 0.4, "b.jpg")]
    assert identified(nearest, own_rule(0.5)).label == "ant"
    found = identified(nearest, own_rule(math.nextafter(0.5, 1)))
    assert found.label is None
    assert found.sentence.startswith(
        "unknown (similarity 0.500, threshold 0.500; nearest: ant); a threshold of your own"
    )
    for wrong in (1.5, -2.0, math.nan):
        with pytest.raises(ValueError, match="threshold: found"):
            own_rule(wrong)


def test_the_threshold_is_that_for_as_many_classes_as_there_are(thresholds):
    rules = [identify_rule("x", thresholds, 0.1, number) for number in (5, 19, 30, 100)]
    assert [rule.accept_from for rule in rules] == sorted(rule.accept_from for rule in rules)
    assert rules[2].accept_from == thresholds.identify_at(0.1, 30).similarity
    assert "extrapolated" not in rules[2].meaning
    assert rules[3].meaning.endswith("; that was found with 19 classes enrolled, and for 100 it is extrapolated")


def test_without_a_curve_the_expected_rate_is_told(thresholds):
    rule = identify_rule("x", replace(thresholds, curve=()), 0.1, 190)
    assert rule.accept_from == thresholds.identify[0].similarity
    expected = thresholds.identify[0].expected_rate(190)
    assert rule.meaning.endswith(
        f"; that was found with 19 classes enrolled, and for 190 it is about {percent(expected)}"
    )


def test_a_rate_that_cannot_be_told_is_said_to_be_so(thresholds):
    few = replace(thresholds.identify[1], resolved=False, trials=36)
    rule = identify_rule("x", replace(thresholds, identify=(few,)), 0.01, few.gallery_classes)
    assert "too few to tell such a rate: of their 36 trials none is accepted" in rule.meaning


def test_verify_says_same_different_or_nothing(tmp_path, thresholds):
    a, b = photo(tmp_path / "a.png", (200, 10, 10), seed=1), photo(tmp_path / "b.png", (200, 10, 10), seed=2)
    c = photo(tmp_path / "c.png", (10, 10, 220))
    model = tiny_model()
    similarity = float((model.embed(a, show_progress=False) @ model.embed(b, show_progress=False).T).squeeze())
    found = verify(model, a, b)
    assert (found.same, found.threshold, found.accept_from) == (None, None, None)
    assert found.similarity == pytest.approx(similarity)
    assert "tiny-0 has no threshold to tell same from different by" in found.sentence
    assert verify(model, a, a, threshold=0.99).same is True
    assert verify(model, a, c, threshold=1.0).same is False
    model.thresholds = thresholds
    found = verify(model, a, b, far=0.01)
    assert found.accept_from == thresholds.verify_at(0.01).similarity
    assert found.same is (found.similarity >= found.accept_from)
    assert "about 1 % of pairs of different classes are taken for one, on 20 classes" in found.sentence
    with pytest.raises(ValueError, match=r"far: found 0\.5, expected one"):
        verify(model, a, b, far=0.5)
    with pytest.raises(ValueError, match="second: found 2 images, expected one"):
        verify(model, a, [b, b])
