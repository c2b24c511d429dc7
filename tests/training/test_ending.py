"""The end of a run before its steps are over: by validation, or by time."""

import math
import os
import signal

import pytest
import torch

from circlet.training import LoopConfig, OptimizerConfig, load
from circlet.training import ending as module
from circlet.training.ending import Ending
from tests.training.test_loop import Killed, same_state
from tests.training.tiny import noise, run


def scores(*values):
    found = iter(values)
    return lambda model: {"score": next(found)}


@pytest.mark.parametrize(
    ("values", "patience", "end"),
    [
        ([1, 2, 3, 4, 5, 6], 1, 30),
        ([1, 1, 9, 9, 9, 9], 1, 10),
        ([1, 2, 2, 3, 2, 2], 2, 30),
        ([3, 2, 1, 9, 9, 9], 2, 15),
        ([3, 2, 4, 1, 1, 9], 2, 25),
    ],
)
def test_it_stops_after_validations_without_a_better_score(tmp_path, values, patience, end):
    _, _, folder = run(tmp_path / "run", validate=scores(*values), patience=patience, validate_every=5, log_every=7)
    lines = folder.read_metrics()
    assert lines[-1]["step"] == load(folder.last)["step"] == end
    stopped = [line for line in lines if "stopped_by_patience" in line]
    assert stopped == ([] if end == 30 else [{"step": end, "stopped_by_patience": patience}])
    assert [line["step"] for line in lines if "loss" in line][-1] == end
    assert [line["step"] for line in lines if "validation_score" in line][-1] == end


def test_it_stops_where_the_whole_run_has_been(tmp_path):
    """The schedule is that of all steps."""
    _, _, folder = run(tmp_path / "run", validate=scores(1, 0), patience=1)
    _, _, whole = run(tmp_path / "whole", validate=scores(1, 0, 0), checkpoint_every=1)
    rates = [line["learning_rate"] for line in folder.read_metrics() if "learning_rate" in line]
    assert rates == [line["learning_rate"] for line in whole.read_metrics() if "learning_rate" in line][: len(rates)]
    assert folder.read_metrics()[-1]["step"] == 20


def test_a_run_that_has_stopped_does_not_go_on(tmp_path):
    first, _, folder = run(tmp_path / "run", validate=scores(1, 0), patience=1)
    lines = folder.read_metrics()
    again, _, _ = run(tmp_path / "run", validate=scores(), patience=1)
    assert same_state(dict(first.state_dict()), dict(again.state_dict()))
    assert folder.read_metrics() == lines


@pytest.mark.parametrize("kill_at", [0, 9, 12, 19])
def test_killed_and_resumed_it_counts_on(tmp_path, kill_at):
    def validate(model):
        return {"score": -float(model(torch.ones(2, 12)).square().sum().detach()) if kill_at < 0 else 0.0}

    settings = {"validate": validate, "patience": 3, "validate_every": 5}
    whole, _, folder = run(tmp_path / "whole", **settings)
    calls = iter(range(1000))

    def dying(points, labels):
        if next(calls) == kill_at:
            raise Killed
        return noise(points, labels)

    with pytest.raises(Killed):
        run(tmp_path / "cut", augment=dying, **settings)
    resumed, _, cut = run(tmp_path / "cut", **settings)
    assert same_state(dict(whole.state_dict()), dict(resumed.state_dict()))
    assert same_state(load(folder.last), load(cut.last))
    assert load(cut.last)["step"] == 20


def test_patience_needs_a_validation(tmp_path):
    with pytest.raises(ValueError, match="patience: found 2 without a validation, expected 0"):
        run(tmp_path / "run", patience=2)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)

    def each_step(self, seconds):
        def augment(points, labels):
            self.now += seconds
            return noise(points, labels)

        return augment


@pytest.mark.parametrize(("seconds", "end"), [(0.001, 1), (1.0, 1), (7.0, 7), (29.9, 30), (1000.0, 30)])
def test_time_ends_a_run_with_all_that_is_due(tmp_path, monkeypatch, seconds, end):
    augment = Clock(monkeypatch).each_step(1.0)
    observed = []
    _, _, folder = run(
        tmp_path / "run", augment=augment, seconds=seconds, validate=lambda model: {"score": 1.0}, log_every=4,
        observe=lambda objective, embeddings, labels: observed.append(1) or {"seen": 1.0},
    )  # fmt: skip
    lines = folder.read_metrics()
    assert load(folder.last)["step"] == end == lines[-1]["step"]
    logged = [line for line in lines if "loss" in line]
    assert logged[-1]["step"] == end
    assert all(line["seen"] == 1.0 for line in logged)
    assert [line["step"] for line in lines if "validation_score" in line][-1] == end
    assert ("stopped_by_seconds" in lines[-1]) == (end < 30)
    run(tmp_path / "run", augment=augment, seconds=seconds, validate=scores(), log_every=4)
    assert load(folder.last)["step"] == end


def test_the_learning_rate_falls_with_the_time(tmp_path, monkeypatch):
    augment = Clock(monkeypatch).each_step(1.0)
    optimizer = OptimizerConfig(learning_rate=1.0, warmup=0.1, name="sgd", clip_norm=1e-6)
    _, _, folder = run(tmp_path / "run", augment=augment, seconds=10.0, steps=1000, log_every=1, optimizer=optimizer)
    rates = [line["learning_rate"] for line in folder.read_metrics() if "loss" in line]
    assert rates[0] == pytest.approx(0.01)
    for second, rate in enumerate(rates[1:], start=1):
        assert rate == pytest.approx(0.5 * (1 + math.cos(math.pi * (1000 * second / 10 - 100) / 900)))
    assert len(rates) in (10, 11)
    assert rates[-1] < 0.04


def test_steps_that_are_further_on_than_the_time_lead(tmp_path, monkeypatch):
    Clock(monkeypatch)
    _, _, plain = run(tmp_path / "plain", log_every=1)
    _, _, limited = run(tmp_path / "limited", log_every=1, seconds=1e6)

    def without_time(folder):
        return [{k: v for k, v in line.items() if k != "seconds"} for line in folder.read_metrics()]

    assert without_time(limited) == without_time(plain)


def test_time_before_an_interruption_counts(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    calls = iter(range(1000))

    def asking(points, labels):
        clock.now += 1.0
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return noise(points, labels)

    with pytest.raises(KeyboardInterrupt, match="stopped at step 6"):
        run(tmp_path / "run", augment=asking, seconds=20.0)
    clock.now += 1000.0
    _, _, folder = run(tmp_path / "run", augment=asking, seconds=20.0)
    assert folder.read_metrics()[-1]["step"] in (20, 21)


def test_time_before_the_first_step_and_of_steps_to_come():
    ending = Ending(LoopConfig(steps=100, seconds=10.0))
    ending.seconds = 9.0
    ending.start()
    assert ending.look(40, step_seconds=0.1) == pytest.approx(90, abs=1)
    assert ending.last_step == 100
    assert ending.expected_steps(45) == pytest.approx(50, abs=1)
    ending.look(41, step_seconds=2.0)
    assert (ending.last_step, ending.reason, ending.expected_steps(41)) == (42, "seconds", 42)
    assert ending.why() == "the time of 10 s is over"


def test_a_checkpoint_of_an_earlier_version_goes_on(tmp_path):
    _, _, folder = run(tmp_path / "run", steps=7)
    state = load(folder.last)
    del state["ending"]
    torch.save(state, folder.last)
    run(tmp_path / "run", steps=14)
    assert load(folder.last)["step"] == 14


@pytest.mark.parametrize(
    ("name", "value"), [("seconds", 0.0), ("seconds", -1.0), ("seconds", math.inf), ("patience", -1)]
)
def test_bad_settings(name, value):
    with pytest.raises(ValueError, match=f"{name}: found {value}, expected"):
        LoopConfig(**{name: value})
