"""A loss of one's own goes everywhere where those of the package go; a bad one says what is wrong with it."""

import inspect
import math

import pytest
import torch

import circlet
from circlet import Form, PairLoss, rules
from circlet.similarity import Rule, dense
from circlet.similarity.pairs import Pairs
from circlet.training import Objective
from tests.losses import own_loss
from tests.losses.cases import batch
from tests.losses.own_loss import CubeLoss, Cubes, by_loops


def test_it_is_short():
    lines = inspect.getsource(Cubes) + inspect.getsource(CubeLoss)
    assert sum(bool(line.strip()) for line in lines.splitlines()) <= 15
    assert own_loss.CubeLoss.name == "cube"


def test_it_equals_loops():
    embeddings, labels = batch()
    embeddings.requires_grad_()
    value, expected = CubeLoss(reduction="none")(embeddings, labels), by_loops(embeddings, labels)
    torch.testing.assert_close(value, expected)
    grads = [torch.autograd.grad(of.sum(), embeddings)[0] for of in (value, expected)]
    torch.testing.assert_close(*grads)


def test_it_goes_through_tiles():
    embeddings, labels = batch(num_classes=350)
    assert len(labels) ** 2 > circlet.similarity.WHOLE_PAIRS
    embeddings.requires_grad_()
    value = CubeLoss()(embeddings, labels)
    expected = torch.nn.functional.softplus(
        sum(dense.pair_lse(Pairs(embeddings, None, labels, None), Cubes(), normalize=True))
    ).mean()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, embeddings), torch.autograd.grad(expected, embeddings))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("num_classes", [5, 350])
def test_it_is_compiled_whole(num_classes):
    torch.compiler.reset()
    embeddings, labels = batch(num_classes)
    loss, results = CubeLoss(), []
    for function in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = embeddings.clone().requires_grad_()
        value = function(leaf, labels)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    torch.testing.assert_close(results[1], results[0])


def test_it_is_found_by_its_path():
    assert circlet.losses.find_loss("tests.losses.own_loss:CubeLoss") is CubeLoss
    embeddings, labels = batch()
    function = circlet.functional.function_of(CubeLoss)
    assert function(embeddings, labels, gamma=4.0) == CubeLoss(gamma=4.0)(embeddings, labels)
    assert Objective(CubeLoss(), "joint", 5, 8).double()(embeddings, labels) > 0


class Narrow(Rule):
    def positive(self, s):
        return s.sum()

    def negative(self, s):
        return s


class Root(Rule):
    def positive(self, s):
        return s

    def negative(self, s):
        return s.sqrt()


class Words(Rule):
    def positive(self, s):
        return "far"

    def negative(self, s):
        return s


class Silent(Rule):
    def positive(self, s):
        return s


RULE = rules.Circle()
BAD_FORMS = [
    (lambda: Form(Narrow()), r"rule.positive\(s\) gave shape \(\) for s of shape \(5,\), expected the same"),
    (lambda: Form(Root()), r"rule.negative\(s\) gave \[nan, .*, expected finite numbers"),
    (lambda: Form(Words()), r"rule.positive\(s\) gave str, expected a tensor"),
    (lambda: Form(RULE, lambda pos, neg: (pos + neg).mean()), r"aggregate\(pos, neg\) gave shape \(\), expected"),
    (lambda: Form(RULE, lambda pos, neg: math.nan * pos), r"aggregate\(pos, neg\) gave \[nan"),
    (lambda: Form(RULE, penalty=lambda rows: rows.norms[:1]), r"penalty\(rows\) gave shape \(1,\)"),
    (lambda: Form("circle"), r"found a rule of type str, expected a circlet.rules.Rule"),
    (lambda: RULE, r"form\(\) gave Circle, expected a circlet.Form"),
    (lambda: None, r"form\(\) gave NoneType, expected a circlet.Form"),
    (lambda: Form(RULE, positives="hardest"), "positives: found 'hardest', expected logsumexp, max, softmin"),
    (lambda: Form(RULE, average="all"), "average: found 'all', expected both, either, sides"),
    (lambda: Form(RULE, average="sides"), "found average 'sides' with .*softplus.*, expected a circlet.aggregate"),
    (lambda: Form(RULE, negatives="semi_hard"), "found negatives 'semi_hard' with positives 'logsumexp'"),
]


@pytest.mark.parametrize(("form", "message"), BAD_FORMS, ids=[message for _, message in BAD_FORMS])
def test_a_bad_form_is_refused_when_the_loss_is_made(form, message):
    class BadLoss(PairLoss):
        def form(self):
            return form()

    with pytest.raises(ValueError, match="BadLoss: .*" + message.replace(", expected", ".*, expected")):
        BadLoss()


def test_a_rule_without_one_of_its_functions_is_refused():
    class BadLoss(PairLoss):
        def form(self):
            return Form(Silent())

    with pytest.raises((NotImplementedError, ValueError), match=r"Silent: has no negative\(s\), expected the logit"):
        BadLoss()


@pytest.mark.parametrize("default", ["wide", None, True, math.nan, [0.1]])
def test_a_bad_default_is_refused_when_the_class_is_made(default):
    with pytest.raises(ValueError, match=r"BadLoss: margin: found .*, expected a"):

        class BadLoss(PairLoss):
            margin: float = default


def test_a_hyper_parameter_without_a_default_is_refused():
    with pytest.raises(ValueError, match="BadLoss: margin: found None as its default, expected a number"):

        class BadLoss(PairLoss):
            margin: float


def test_a_loss_without_a_form_is_refused():
    class BadLoss(PairLoss):
        pass

    with pytest.raises(NotImplementedError, match=r"BadLoss: has no form\(\), expected one that gives a circlet.Form"):
        BadLoss()
