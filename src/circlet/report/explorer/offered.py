"""What the page knows of each loss: its form in the words of losses.js, and the sliders of its hyper-parameters.

All of it comes from the loss's own definition (`circlet.PairLoss`). With one positive and one negative the similarity
to a class is that of its one reference, and it is the same whether samples or references are the anchors, and over what
an average is taken: the loss is an aggregate of the statistics of one or two logits. A loss for which losses.js lacks a
word is left out, with the reason.
"""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from circlet import aggregate, rules
from circlet.losses import Form, PairLoss
from circlet.report.explorer.follows import Numbers, Term, follows
from circlet.report.explorer.sliders import Slider, slider
from circlet.similarity import Rule

# The words of losses.js.
RULES: tuple[type[Rule], ...] = (
    rules.Circle,
    rules.ConstantMargin,
    rules.AngularMargin,
    rules.TwoScales,
    rules.SymmetricMargin,
    rules.Hinges,
    rules.DistanceHinges,
    rules.Squares,
)
AGGREGATES: tuple[Any, ...] = (
    aggregate.softplus,
    aggregate.hinge,
    aggregate.add,
    aggregate.Separate,
    aggregate.SeparateSoftplus,
)
STATISTICS = ("logsumexp", "max", "sum", "mean", "softmin", "mean_active", "each", "semi_hard")
CONTRASTS = ("negatives", "all")
# What a form says, as far as it is of one positive and one negative, and what it says beyond that.
SAID = ("rule", "aggregate", "positives", "negatives", "contrast")
BEYOND = ("normalize", "within_class", "anchors", "average")


@dataclass(frozen=True)
class Word:
    """A rule or an aggregate: its name in losses.js, and how its numbers follow from the hyper-parameters."""

    name: str
    numbers: dict[str, list[Term]]


@dataclass(frozen=True)
class Offered:
    """A loss that the page shows. sliders, idle: hyper-parameters that change something here, and names of the rest."""

    name: str
    title: str
    rule: Word
    aggregate: Word
    positives: str
    negatives: str
    contrast: str
    sliders: tuple[Slider, ...]
    idle: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """A loss that the page cannot show, and why."""

    title: str
    reason: str


def offer(loss: type[PairLoss]) -> Offered | LeftOut:
    """What the page needs of a loss.

    >>> from circlet import InfoNCELoss
    >>> offer(InfoNCELoss).rule
    Word(name='ConstantMargin', numbers={'margin': [], 'gamma': [Term(factor=1.0, powers={'temperature': -1})]})
    """
    title = f"{loss.title} ({', '.join(loss.aliases)})" if loss.aliases else loss.title
    form = loss().form()
    reason = _missing(form)
    if reason:
        return LeftOut(title, reason)
    words = []
    for part in ("rule", "aggregate"):
        found = _word(loss, part)
        if found is None:
            return LeftOut(title, f"its {part} follows from its hyper-parameters in a way that the page cannot say")
        words.append(found)
    used = {name for word in words for terms in word.numbers.values() for term in terms for name in term.powers}
    shown = tuple(slider(name, parameter) for name, parameter in loss.declared.items() if name in used)
    idle = tuple(name for name in loss.declared if name not in used)
    rule, aggregated = words
    return Offered(loss.name, title, rule, aggregated, form.positives, form.negatives, form.contrast, shown, idle)


def _missing(form: Form) -> str:
    """What a form has that the page lacks, in words; empty: nothing."""
    if not isinstance(form.rule, Rule):
        return "its rule differs from anchor to anchor"
    if type(form.rule) not in RULES:
        return f"the page has no rule {type(form.rule).__name__}"
    if not form.rule.is_constant:
        return "its rule holds learnt numbers"
    if _kind(form.aggregate) not in AGGREGATES:
        return f"the page has no aggregate {_name(form.aggregate)}"
    known: dict[str, tuple[str, ...]] = {
        form.positives: STATISTICS,
        form.negatives: STATISTICS,
        form.contrast: CONTRASTS,
    }
    unknown: list[str] = [word for word, words in known.items() if word not in words]
    unknown += [
        field.name
        for field in fields(form)
        if field.name not in (*SAID, *BEYOND) and getattr(form, field.name) != field.default
    ]
    return f"the page does not know {', '.join(unknown)}" if unknown else ""


def _word(loss: type[PairLoss], part: str) -> Word | None:
    """The rule or aggregate of a loss, if its numbers can be said."""
    example = getattr(loss().form(), part)
    numbers = {}
    for name in _fields(example):
        terms = _follows(loss, part, name)
        if terms is None:
            return None
        numbers[name] = terms
    return Word(_name(example), numbers)


def _follows(loss: type[PairLoss], part: str, name: str) -> list[Term] | None:
    """How a number of the loss's rule or aggregate follows from its hyper-parameters; None if it cannot be said."""
    usual = _words(loss().form())

    def of(own: Numbers) -> float:
        settings: dict[str, Any] = dict(own)
        form = loss(**settings).form()
        if _words(form) != usual:
            raise ValueError(f"{loss.__name__}: found other words in its form with {own}, expected {usual}")
        return float(getattr(getattr(form, part), name))

    try:
        return follows(of, loss.declared)
    except ValueError:  # other words, or numbers that the loss refuses together
        return None


def _words(form: Form) -> tuple[Any, ...]:
    return type(form.rule), _kind(form.aggregate), form.positives, form.negatives, form.contrast


def _fields(word: Any) -> list[str]:
    return [field.name for field in fields(word)] if is_dataclass(word) else []


def _kind(word: Any) -> Any:
    return word if hasattr(word, "__name__") else type(word)


def _name(word: Any) -> str:
    name: str = _kind(word).__name__
    return name
