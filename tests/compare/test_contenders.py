"""Contenders: settings of the paper by level, what a search tries, and what all must share."""

import pytest

from circlet.compare.contenders import at_edge, candidates, in_common, parse_contender, settings_text
from circlet.experiments import build_loss
from circlet.losses import all_losses
from circlet.recipes import RECIPES


@pytest.mark.parametrize(
    ("text", "level", "margin", "gamma"),
    [
        ("circle", "pair", 0.4, 80.0),
        ("circle:pair", "pair", 0.4, 80.0),
        ("circle:class", "class", 0.25, 256.0),
        ("am_softmax", "class", 0.35, 64.0),
        ("arcface", "class", 0.5, 64.0),
        ("triplet", "pair", 0.3, None),
        ("triplet:class", "class", 0.3, None),
        ("softmax", "class", None, None),
        ("circle:class:gamma=128", "class", 0.25, 128.0),
        ("circle:margin=0.1:joint", "joint", 0.1, 256.0),
    ],
)
def test_levels_and_settings(text, level, margin, gamma):
    loss = parse_contender(text).loss
    assert (loss.level, loss.numbers.get("margin"), loss.numbers.get("gamma")) == (level, margin, gamma)


def test_the_level_of_circle_is_the_recipes():
    assert parse_contender("circle", "class").loss.numbers["gamma"] == 256.0
    assert parse_contender("triplet", "class").loss.level == "pair"


def test_where_settings_are_from():
    assert parse_contender("arcface").chosen_by == "the Circle-loss paper (faces, as a baseline)"
    assert parse_contender("proxy_anchor").chosen_by == "its paper (fine-grained retrieval)"
    for loss in all_losses().values():
        assert all("paper" in source for _, source in loss.paper_settings.values())
    assert parse_contender("triplet").chosen_by == "the loss's own default"
    assert parse_contender("arcface:gamma=30").chosen_by == "given"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("circles", "found 'circles', expected one of"),
        ("circle:pairs", r"losses: found 'circle:pairs', expected NAME\["),
        ("circle:pair:class", r"losses: found 'circle:pair:class', expected NAME\["),
        ("circle:gamma=big", "losses: found 'gamma=big' in 'circle:gamma=big', expected a number"),
        ("circle:colour=1", "loss.colour: found with circle, which has margin, gamma"),
        ("no.such.module:Loss", r"loss 'no.such.module:Loss': module no.such.module could not be imported"),
        ("math:pi", "loss 'math:pi': found float, expected a subclass of circlet.PairLoss"),
        ("triplet:gamma=1", "loss.gamma: found with triplet"),
    ],
)
def test_bad_losses(text, message):
    with pytest.raises(ValueError, match=message):
        parse_contender(text)


@pytest.mark.parametrize("name", all_losses())
def test_candidates_start_with_the_own_settings_and_differ(name):
    contender = parse_contender(name)
    tried = candidates(contender, 8)
    assert tried[0] == contender.loss
    assert len({settings_text(loss) for loss in tried}) == len(tried)
    roles = {parameter.role for parameter in all_losses()[name].declared.values()}
    scaled, with_margin = bool(roles & {"scale", "temperature"}), "margin" in roles
    most = 8 if scaled or with_margin else 1
    assert (1 if most == 1 else 2) <= len(tried) <= most  # fewer where a margin would leave its range
    assert all(build_loss(loss) for loss in tried)


def test_a_loss_with_two_scales_is_searched_too():
    tried = candidates(parse_contender("multi_similarity"), 4)
    assert [tuple(loss.numbers.values()) for loss in tried[::3]] == [(2.0, 50.0, 0.5), (0.5, 12.5, 0.3333)]
    assert parse_contender("multi_similarity:beta=40").loss.numbers["beta"] == 40.0
    assert build_loss(parse_contender("info_nce:temperature=0.2").loss).hyper_parameters == {"temperature": 0.2}


def test_the_edge_of_a_search():
    tried = candidates(parse_contender("circle"), 5)
    assert sorted(loss.numbers["gamma"] for loss in tried) == [5.0, 20.0, 20.0, 40.0, 80.0]
    assert [at_edge(loss, tried) for loss in tried] == [True, False, True, False, False]
    assert not at_edge(tried[0], tried[:2])
    assert not at_edge(tried[0], [])


def test_given_settings_are_not_searched():
    assert len(candidates(parse_contender("circle:gamma=32"), 5)) == 1


def test_what_all_share():
    base = RECIPES["glyphs"]()
    pair, by_class = parse_contender("triplet"), parse_contender("arcface")
    assert in_common(base, [pair]) == base
    mixed = in_common(base, [pair, by_class])
    assert (mixed.augment.composed_classes, mixed.augment.warped_classes) == (0, 0)
    assert mixed.batch == base.batch
    assert mixed.augment.rotation == base.augment.rotation
