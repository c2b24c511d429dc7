"""Suggestions: each rule on a made-up log just before and just after its threshold, and on logs of real runs."""

import json
from pathlib import Path

import pytest

from circlet import AMSoftmaxLoss, CircleLoss, NormFaceLoss
from circlet.advise.advice import RULES, suggest, suggest_for
from circlet.cli import main
from circlet.experiments import Experiment, LossConfig
from circlet.training import RunFolder

SMALL_GAMMA, LOOSE, TOO_LARGE_STEPS, CROWDED, NOTHING_LEFT, STILL, OVERFITTED = (
    "gamma is too small",
    "the margin asks for nothing",
    "the first steps were too large",
    "large steps have turned the embeddings",
    "nothing is left to learn from",
    "the loss has hardly moved",
    "overfitting",
)

# Runs of 60 steps on the glyphs (overfit-*: 300 steps on five classes), made with a fault or, as far as we know, none.
EXPECTED = {
    "normal": [],
    "g4096": [],
    "g256": [],
    "m0": [],
    "unified": [],
    "ms": [],
    "triplet-lr.03": [],
    "triplet-m.02": [],
    "fix-class-240": [],
    "fix-sgd-lr.01": [],
    "fix-lr1e-2-w.1": [],
    "overfit-few-aug": [],
    "g1": [SMALL_GAMMA],
    "g4": [SMALL_GAMMA],
    "class-g1": [SMALL_GAMMA],
    "m.9": [LOOSE],
    "unified-m-.5": [LOOSE],
    "sgd-w0": [TOO_LARGE_STEPS, CROWDED],
    "lr1e-1-w0": [CROWDED],
    "lr1-w0": [CROWDED],
    "class-normal": [STILL],
    "lr1e-5": [STILL],
    "overfit-few": [NOTHING_LEFT, OVERFITTED],
}
LOGS = {run["name"]: run for run in map(json.loads, (Path(__file__).parent / "logs.jsonl").read_text().splitlines())}


@pytest.mark.parametrize("name", LOGS)
def test_real_runs(name):
    run = LOGS[name]
    found = suggest(Experiment.from_json(run["experiment"]), run["lines"], train_classes=run["train_classes"])
    assert [text for s in found for text in [s.problem] if not text.startswith(tuple(EXPECTED[name]))] == []
    assert len(found) == len(EXPECTED[name])


@pytest.mark.parametrize(
    ("fault", "mended"),
    [("g1", "normal"), ("g4", "normal"), ("m.9", "normal"), ("unified-m-.5", "unified"), ("lr1e-5", "normal"),
     ("sgd-w0", "fix-sgd-lr.01"), ("lr1e-1-w0", "fix-lr1e-2-w.1"), ("class-normal", "fix-class-240"),
     ("overfit-few", "overfit-few-aug")],
)  # fmt: skip
def test_what_is_said_to_change_made_the_run_better(fault, mended):
    """By MAP@R on unseen classes, when the logs were made: so that the table of the module stays true to them."""
    assert LOGS[mended]["map@r"] > LOGS[fault]["map@r"] + 0.02


def a_log(losses, **others):
    lines = [{"step": 20 * i, "loss": loss} for i, loss in enumerate(losses, 1)]
    for name, values in others.items():
        for line, value in zip(lines, values, strict=True):
            line[name] = value
    return lines


def problems(lines, *, train_classes=None, **loss):
    numbers = {"margin": 0.4, "gamma": 32.0}
    numbers |= {name: loss.pop(name) for name in list(loss) if name in ("margin", "gamma", "temperature")}
    settings = LossConfig(**loss, settings=tuple((n, v) for n, v in numbers.items() if v is not None))
    return [s.problem for s in suggest(Experiment(loss=settings), lines, train_classes=train_classes)]


FALLING = [float(20 - i) for i in range(12)]


def test_a_sound_log_gets_no_advice():
    assert problems(a_log(FALLING, s_p=[0.5] * 12, s_n=[0.0] * 12, past_boundary=[0.5] * 12)) == []
    assert problems([]) == []
    assert problems([{"step": 20, "loss": 20.0}]) == []


@pytest.mark.parametrize(("gamma", "small"), [(1.0, True), (4.0, True), (8.0, False), (4096.0, False)])
def test_gamma_is_judged_by_what_perfect_embeddings_reach(gamma, small):
    assert any(SMALL_GAMMA in text for text in problems(a_log([1.0]), gamma=gamma)) == small


def test_gamma_that_is_advised_is_large_enough():
    (found,) = suggest(Experiment(loss=LossConfig.of(NormFaceLoss(gamma=1.0))), [], train_classes=1000)
    advised = float(found.change.split()[1])
    again = Experiment(loss=LossConfig.of(NormFaceLoss(gamma=advised)))
    assert suggest(again, [], train_classes=1000) == []


def test_margins_are_made_harder_in_the_right_direction():
    (circle,) = suggest(Experiment(loss=LossConfig.of(CircleLoss(margin=0.9, gamma=32.0))), [])
    (am,) = suggest(Experiment(loss=LossConfig.of(AMSoftmaxLoss(margin=-0.5), "pair")), [])
    assert (circle.change, am.change) == ("--loss.margin smaller than 0.9", "--loss.margin larger than -0.5")


def test_worse_than_chance():
    assert problems(a_log([33.0, *FALLING])) == []  # about 31 at chance
    (found,) = problems(a_log([40.0, *FALLING]))
    assert TOO_LARGE_STEPS in found


def test_class_weights_of_unknown_number_are_not_judged_by_chance():
    log = a_log([500.0, *FALLING])
    assert problems(log, level="class", margin=0.25) == []
    assert len(problems(log, level="class", margin=0.25, train_classes=1000)) == 1


@pytest.mark.parametrize(
    ("s_n", "speaks"),
    [
        ([0.0, 0.2, 0.45, 0.3], False),
        ([0.0, 0.3, 0.55, 0.3], True),
        ([0.6, 0.7, 0.6, 0.3], False),  # as pretrained features start
    ],
)
def test_crowded(s_n, speaks):
    found = problems(a_log([20.0, 18.0, 16.0, 14.0], s_n=s_n, s_p=[0.8] * 4))
    assert any(CROWDED in text for text in found) == speaks


@pytest.mark.parametrize(("past", "speaks"), [(0.9, False), (0.97, True)])
def test_nothing_left(past, speaks):
    shares = [0.2] * 8 + [past] * 4
    found = problems(a_log(FALLING, s_p=[0.9] * 12, s_n=[0.0] * 12, past_boundary=shares))
    assert any(NOTHING_LEFT in text for text in found) == speaks


@pytest.mark.parametrize(("last", "speaks"), [(18.5, False), (19.5, True)])
def test_hardly_moved(last, speaks):
    assert any(STILL in text for text in problems(a_log([20.0, *[19.8] * 8, *[last] * 3]))) == speaks
    assert problems(a_log([20.0, *[19.9] * 5])) == []  # too short to judge


@pytest.mark.parametrize(
    ("validated", "losses", "speaks"),
    [
        ([0.3, 0.5, 0.4], FALLING, True),
        ([0.3, 0.5, 0.495], FALLING, False),
        ([0.3, 0.4, 0.5], FALLING, False),
        ([0.5, 0.4], FALLING, False),
        ([0.3, 0.5, 0.4], FALLING[:8] + [13.5] * 4, False),  # the loss rises as well: another trouble
    ],
)
def test_overfitting(validated, losses, speaks):
    log = a_log(losses)
    log += [{"step": 80 * i, "validation_map@r": value} for i, value in enumerate(validated, 1)]
    found = problems(sorted(log, key=lambda line: line["step"]))
    assert any(OVERFITTED in text for text in found) == speaks


def test_inner_products_are_not_judged_as_cosines():
    assert problems(a_log(FALLING, s_n=[0.0, *[40.0] * 11]), name="softmax", level="class", margin=None, gamma=None,
                    train_classes=10) == []  # fmt: skip


def test_every_rule_speaks_in_some_real_run():
    said = {text for texts in EXPECTED.values() for text in texts}
    assert len(said) == len(RULES)


def test_the_command(tmp_path, capsys):
    experiment = Experiment(loss=LossConfig.of(CircleLoss(margin=0.4, gamma=1.0)))
    folder = RunFolder.create(tmp_path / "run", experiment.to_json())
    with folder.metrics(from_step=0) as log:
        log({"step": 20, "loss": 6.0})
    assert suggest_for(tmp_path / "run") == suggest(experiment, folder.read_metrics())
    assert main(["suggest", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert SMALL_GAMMA in out
    assert "change: --loss.gamma 16 or more" in out
    weights = Experiment(loss=LossConfig.of(CircleLoss(margin=0.25, gamma=32.0), "class"))
    going_on = RunFolder.create(tmp_path / "going-on", weights.to_json())
    with going_on.metrics(from_step=0) as log:
        log({"step": 20, "loss": 500.0})
    assert suggest_for(going_on.path) == []
    going_on.begin({"train_classes": 1000, "train_images": 5000})
    (found,) = suggest_for(going_on.path)
    assert TOO_LARGE_STEPS in found.problem
    sound = RunFolder.create(tmp_path / "sound", Experiment().to_json())
    assert main(["suggest", str(sound.path)]) == 0
    assert "nothing to change" in capsys.readouterr().out
    assert main(["suggest", str(tmp_path)]) == 1
    assert "no config.json in it" in capsys.readouterr().err
