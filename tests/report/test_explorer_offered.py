"""What the explorer takes from the definitions of the losses, and what it leaves out and says so."""

import re
from dataclasses import dataclass
from importlib.resources import files

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import circlet
from circlet import Form, PairLoss, aggregate, rules
from circlet.losses import HyperParameter, all_losses
from circlet.losses.hyper_parameters import Margin, Number, Scale, Temperature
from circlet.report import explorer
from circlet.report.explorer.follows import Term, follows, total
from circlet.report.explorer.offered import LeftOut, Offered, offer
from circlet.report.explorer.sliders import slider

PLAIN = {name: HyperParameter(default) for name, default in (("a", 0.3), ("b", -2.0), ("c", 0.0))}
FACTORS = st.lists(st.integers(-64, 64), min_size=8, max_size=8)


@given(FACTORS, st.tuples(*[st.sampled_from([1, -1])] * 2))
@example([0, 16, 0, 0, 0, -21, 0, -22], (-1, 1))  # what follows from a is 0 at one of the points that are tried
def test_sums_of_products_and_inverses_are_found(factors, powers):
    def function(own):
        a, b, c = own["a"] ** powers[0], own["b"] ** powers[1], own["c"]
        products = [1, a, b, c, a * b, a * c, b * c, a * b * c]
        return sum(factor / 8 * value for factor, value in zip(factors, products, strict=True))

    terms = follows(function, PLAIN)
    point = {"a": 0.7, "b": 1.9, "c": -0.3}
    assert total(terms, point) == pytest.approx(function(point), abs=1e-9)
    assert len(terms) == sum(factor != 0 for factor in factors)


@pytest.mark.parametrize(
    "function",
    [
        lambda own: own["a"] ** 2,
        lambda own: 2 ** own["a"],
        lambda own: max(own["a"], 0.4),
        lambda own: own["a"] * abs(own["b"]),
        lambda own: own["a"] + 0.1 * (own == {"a": 0.3, "b": -2.0, "c": 0.0}),
    ],
)
def test_what_is_no_such_sum_is_not_said(function):
    assert follows(function, PLAIN) is None


def test_what_a_loss_is_made_of_is_found():
    found = offer(circlet.NormFaceLoss)
    assert found.rule.numbers == {"margin": [], "gamma": [Term(1.0, {"gamma": 1})]}
    assert offer(circlet.SupConLoss).rule.numbers["gamma"] == [Term(1.0, {"temperature": -1})]
    assert offer(circlet.AMSoftmaxLoss).title == "AM-Softmax (CosFace)"
    both = offer(circlet.MultiSimilarityLoss)
    assert both.aggregate.numbers == {name: [Term(1.0, {name: 1})] for name in ("alpha", "beta")}
    assert offer(circlet.TripletLoss).rule.numbers["gamma"] == [Term(1.0, {})]


@pytest.mark.parametrize("loss", all_losses().values(), ids=str)
def test_the_page_has_the_numbers_of_every_form(loss):
    """At the default and with each hyper-parameter changed; or it says why not."""
    found = offer(loss)
    if isinstance(found, LeftOut):
        assert found.reason
        return
    changed = [{name: next(filter(parameter.allows, (0.375, 1.5)))} for name, parameter in loss.declared.items()]
    for own in ({}, *changed):
        made = loss(**own)
        for word, part in ((found.rule, made.form().rule), (found.aggregate, made.form().aggregate)):
            assert word.name == getattr(part, "__name__", type(part).__name__)
            for name, terms in word.numbers.items():
                assert total(terms, made.hyper_parameters) == pytest.approx(getattr(part, name), rel=1e-9)


def test_sliders_follow_from_what_is_declared():
    def ends(parameter):
        made = slider("x", parameter)
        return made.logarithmic, made.low, made.high

    assert ends(Scale(default=64.0)) == (True, 2.0, 2048.0)
    assert ends(Temperature(default=0.5)) == (True, 0.5 / 32, 16.0)
    assert ends(Margin(default=0.3)) == (False, -1.0, 1.0)
    assert ends(Margin(default=0.3, low=0.0, high=3.0)) == (False, 0.0, 3.0)
    assert ends(Number(default=5.0)) == (False, -10.0, 10.0)
    assert ends(Number(default=5.0, low=1.0)) == (False, 1.0, 11.0)
    assert ends(Number(default=0.5, high=2.0)) == (False, -1.0, 2.0)
    assert slider("x", Margin(default=0.3, low=0.0, high=3.0)).most == 3.0
    assert slider("margin_of_class", Margin(default=0.3)).label == "margin of class"


@dataclass(frozen=True)
class Circle(rules.Rule):
    """Not the library's rule of this name."""

    gamma: float = 2.0

    def positive(self, s):
        return -self.gamma * s

    def negative(self, s):
        return self.gamma * s


@dataclass(frozen=True)
class ByLength:
    """A rule for each anchor."""

    def for_rows(self, rows):
        return rules.ConstantMargin(0.1, 1.0)


def made(word, **declared):
    """A loss class whose form is `word(loss)`."""
    return type("MadeLoss", (PairLoss,), {"form": word, "__annotations__": dict.fromkeys(declared, float), **declared})


LEFT_OUT = {
    "the page has no rule Circle": made(lambda loss: Form(Circle())),
    "its rule differs from anchor to anchor": made(lambda loss: Form(ByLength())),
    "the page has no aggregate difference": made(lambda loss: Form(rules.Circle(), difference)),
    "its rule follows from its hyper-parameters in a way that the page cannot say": made(
        lambda loss: Form(rules.Circle(loss.margin**2)), margin=0.25
    ),
    "its aggregate follows from its hyper-parameters in a way that the page cannot say": made(
        lambda loss: Form(rules.TwoScales(), aggregate.SeparateSoftplus(1 + loss.power**2)), power=2.0
    ),
}


def difference(pos, neg):
    """An aggregate of one's own."""
    return pos - neg


@pytest.mark.slow
@pytest.mark.parametrize("reason", LEFT_OUT)
def test_losses_of_other_words_are_left_out_and_it_says_why(reason, monkeypatch):
    loss = LEFT_OUT[reason]
    assert offer(loss) == LeftOut("Made", reason)
    monkeypatch.setattr(explorer, "all_losses", lambda: {**all_losses(), "made": loss})
    page = explorer.build_explorer()
    said = re.sub(r"\s+", " ", page.split('id="left-out">Not shown: ')[1].split(".</p>")[0])
    (of_reason,) = [part for part in said.split("; ") if part.endswith(f" ({reason})")]
    assert "Made" in of_reason.removesuffix(f" ({reason})").split(", ")
    assert ">Made<" not in page


def test_rules_that_change_with_a_number_are_left_out():
    found = offer(made(lambda loss: Form(rules.Circle() if loss.x > 0.7 else rules.ConstantMargin()), x=0.25))
    assert isinstance(found, LeftOut)


def test_with_nothing_left_out_nothing_is_said(monkeypatch):
    monkeypatch.setattr(explorer, "all_losses", lambda: {"circle": circlet.CircleLoss})
    assert "Not shown" not in explorer.build_explorer()


def test_what_does_nothing_to_one_pair_has_no_slider():
    loss = made(lambda loss: Form(rules.Circle(loss.margin)), margin=0.25, idle=3.0)
    found = offer(loss)
    assert isinstance(found, Offered)
    assert ([one.name for one in found.sliders], found.idle) == (["margin"], ("idle",))


@pytest.mark.parametrize("file", ["losses.js", "explorer.js", "explorer.html", "explorer.css"])
def test_no_loss_is_known_by_name(file):
    text = (files("circlet") / "report" / "explorer" / file).read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text)) - ({"circle"} if file != "losses.js" else set())  # an element of SVG
    numbers = {name for loss in all_losses().values() for name in loss.declared}
    for loss in all_losses().values():
        assert loss.__name__ not in words
        assert loss.name in numbers or loss.name not in words
        for title in (loss.title, *loss.aliases):
            assert hasattr(rules, title) or title not in text
