"""Run folders in which something is damaged, edited or made to do harm: one line names file, key and what is wrong."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from circlet.analyse import read_trace
from circlet.cli import main
from circlet.compare.runs import Run
from circlet.experiments import Experiment, settings_of
from circlet.files import read_json, read_json_lines, write_json
from circlet.training import OptimizerConfig, RunFolder
from tests.training.tiny import run


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", Experiment().to_json())


def changed(folder, place, value):
    """config.json with another value at `place`, such as "data.size"."""
    content = Experiment().to_json()
    *parents, last = place.split(".")
    part = content
    for name in parents:
        part = part[name]
    part[last] = value
    (folder.path / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("data.size", 32, "config.data.size: found 32, expected a list"),
        ("data.size", [48, 48, 48], "config.data.size: found [48, 48, 48], expected a list of 2"),
        ("data.size", [48, "48"], "config.data.size[1]: found '48', expected a whole number"),
        ("data.root", 5, "config.data.root: found 5, expected a path"),
        ("data.root", "a\0b", "config.data.root: found 'a\\x00b', expected a path"),
        ("data.channels", True, "config.data.channels: found true, expected one of (1, 3)"),
        ("data.workers", 2.0, "config.data.workers: found 2.0, expected a whole number"),
        ("data.workers", True, "config.data.workers: found true, expected a whole number"),
        ("data.source", None, "config.data.source: found null, expected text"),
        ("data.in_memory", 1, "config.data.in_memory: found 1, expected true or false"),
        ("data", [], "config.data: found [], expected an object"),
        ("model.mean", {"0": 1.0}, "config.model.mean: found {'0': 1.0}, expected a list"),
        ("loop.optimizer.learning_rate", "1e-3", "config.loop.optimizer.learning_rate: found '1e-3', expected a numb"),
        ("loop.optimizer.clip_norm", float("nan"), "config.loop.optimizer.clip_norm: found nan, expected a finite"),
        ("loss.gamma", float("inf"), "config.loss.gamma: found inf, expected a finite number"),
        ("loss.gamma", 10**400, "found a whole number of 401 digits, expected at most 20"),
        ("loss", 5, "config.loss: found 5, expected"),
        ("ks", [[1]], "config.ks[0]: found [1], expected a whole number"),
    ],
)
def test_settings_of_another_type_are_named_with_their_key(folder, place, value, told, capsys):
    changed(folder, place, value)
    with pytest.raises(ValueError, match=rf"config\.json: {re.escape(told)}"):
        settings_of(folder)
    assert main(["suggest", str(folder.path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "found no valid JSON"),
        (b"{", "found no valid JSON (Expecting property name enclosed in double quotes: column 2)"),
        (b"5", "found int, expected a JSON object"),
        (b"\xff\xfe{}", "found byte 0xff at 0, expected text in UTF-8"),
        (b'{"a": 1, "a": 2}', "a: found this key twice in one object, expected it once"),
        (b'{"a": %b}' % (b"1" * 5000), "found a whole number of 5000 digits, expected at most 20"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "found values within each other, expected at most 64"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "found values within each other, expected at most 64 levels"),
        (b'{"a": ' + b'{"a": ' * 70 + b"1" + b"}" * 71, "found values within each other, expected at most 64 levels"),
    ],
)
def test_what_is_no_json_names_the_file(folder, content, told):
    for name in ("config.json", "result.json", "notes.json"):
        (folder.path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: {re.escape(told)}"):
            folder.read_json(name)
    (folder.path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + content + b"\n")
    told = told.replace("found int, expected a JSON object", "found 5, expected an object of numbers, with the step")
    with pytest.raises(ValueError, match=rf"metrics\.jsonl, line 2: {re.escape(told)}"):
        folder.read_metrics()


def test_folders_and_pipes_in_the_place_of_a_file_do_not_hang(folder):
    (folder.path / "result.json").mkdir()
    with pytest.raises(ValueError, match=r"result.json: found a folder, expected a file"):
        folder.read_result()
    (folder.path / "metrics.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"metrics.jsonl: found a folder, expected a file"):
        folder.read_metrics()
    os.mkfifo(folder.path / "data.json")
    with pytest.raises(ValueError, match=r"data.json: found a device, expected a file"):
        folder.read_json("data.json")
    with pytest.raises(FileNotFoundError, match=r"none.json: no such file"):
        folder.read_json("none.json")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("result.json", {}, "test: found no such key, expected one"),
        ("result.json", {"test": []}, "test: found [], expected an object"),
        ("result.json", {"test": {"map@r": "x"}}, "test.map@r: found 'x', expected a number"),
        ("evaluation.json", {"test": {}}, "config: found no such key, expected one"),
        ("evaluation.json", {"test": {}, "config": 5}, "config: found 5, expected an object"),
        ("data.json", {"train_classes": "many"}, "train_classes: found 'many', expected a whole number"),
        ("diverged.json", {}, "reason: found no such key, expected one"),
        ("diverged.json", {"reason": 5}, "reason: found 5, expected text"),
        ("search.json", {"validation_share": None}, "validation_share: found null, expected a number"),
        ("cost.json", {"finished": "yes"}, "cpu_seconds: found no such key, expected one"),
        ("frozen.json", {"map@r": {}}, "map@r: found {}, expected a number"),
        ("stages.json", {"frozen": {}, "sentence": "", "stages": [5]}, "stages[0]: found 5, expected an object"),
    ],
)
def test_every_file_is_checked_for_what_it_must_hold(folder, name, content, told):
    (folder.path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{name}: {re.escape(told)}"):
        folder.read_json(name)


def test_what_opens_a_folder_meets_the_same_errors(folder):
    for name, what in (
        ("search.json", lambda: RunFolder.open(folder.path)),
        ("diverged.json", lambda: folder.diverged),
        ("evaluation.json", lambda: settings_of(folder, "evaluation.json")),
    ):
        (folder.path / name).write_text("{}")
        with pytest.raises(ValueError, match=rf"{name}: \w+: found no such key, expected one"):
            what()
    (folder.path / "result.json").write_text('{"test": {"map@r": null}}')
    with pytest.raises(ValueError, match=r"result.json: train_seconds: found no such key"):
        folder.read_result("train_seconds")
    made = Run(Path("/nowhere"), "circle", Experiment())
    assert not made.finished


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("5", "found 5, expected an object of numbers, with the step"),
        ("{}", "step: found null, expected a whole number"),
        ('{"step": 1.5}', "step: found 1.5, expected a whole number"),
        ('{"step": true}', "step: found true, expected a whole number"),
        ('{"step": 2, "loss": "low"}', "loss: found 'low', expected a number"),
        ('{"step": 2, "loss": [1.0]}', "loss: found [1.0], expected a number"),
    ],
)
def test_a_line_of_the_log_that_is_none_is_named(folder, line, told):
    (folder.path / "metrics.jsonl").write_text(f'{{"step": 1, "loss": 2.0}}\n{line}\n')
    (folder.path / "pairs.jsonl").write_text('{"s_p": [0.5], "s_n": [0.1]}\n')
    for read in (folder.read_metrics, lambda: read_trace(folder.path)):
        with pytest.raises(ValueError, match=rf"metrics\.jsonl, line 2: {re.escape(told)}"):
            read()
    with pytest.raises(ValueError, match="line 2"), folder.metrics(1):
        pass


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("5", "found 5, expected an object"),
        ("{}", "s_n: found no such key, expected one"),
        ('{"s_p": [0.5], "s_n": [null]}', "s_n[0]: found null, expected a number"),
        ('{"s_p": 0.5, "s_n": [0.1]}', "s_p: found 0.5, expected a list"),
    ],
)
def test_a_line_of_the_trace_that_is_none_is_named(folder, line, told):
    (folder.path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (folder.path / "pairs.jsonl").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=rf"pairs\.jsonl, line 1: {re.escape(told)}"):
        read_trace(folder.path)


def test_numbers_without_end_are_read_as_earlier_versions_wrote_them(folder):
    (folder.path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN, "s_p": 1e999, "s_n": null, "rate": 1}\n')
    assert folder.read_metrics() == [{"step": 1, "rate": 1}]


def test_a_line_without_end_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("circlet.files.MAX_LINE_BYTES", 100)
    (folder.path / "metrics.jsonl").write_text("{" + " " * 200)
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 1: found more than 100 bytes"):
        read_json_lines(folder.path / "metrics.jsonl")
    monkeypatch.setattr("circlet.files.MAX_VALUES", 100)
    (folder.path / "config.json").write_text(json.dumps({"a": [0] * 200}))
    with pytest.raises(ValueError, match=r"config.json: found more than 100 values"):
        read_json(folder.path / "config.json")


def test_a_path_that_is_no_text_is_written_and_read_again(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "config.json", {"root": name, "é": "é"})
    assert read_json(tmp_path / "config.json") == {"root": name, "é": "é"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "run"
    run(path, steps=2, checkpoint_every=1)
    return torch.load(path / "last.pt", weights_only=True)


def without(state, *names):
    """The same without a key of a key."""
    *parents, last = names
    part = state = {**state}
    for name in parents:
        part[name] = part[name].copy()
        part = part[name]
    del part[last]
    return state


def put(state, value, *names):
    """The same with another value at a key of a key."""
    *parents, last = names
    part = state = {**state}
    for name in parents:
        part[name] = part[name].copy()
        part = part[name]
    part[last] = value
    return state


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: [s], "found no circlet checkpoint"),
        (lambda s: put(s, 5, "model"), "model: found 5, expected an object"),
        (lambda s: put(s, {5: torch.zeros(1)}, "model"), "model: found 5, expected names alone"),
        (lambda s: without(s, "optimizer"), "optimizer: found no such key, expected one"),
        (lambda s: {"model": s["model"]}, "best: found no such key, expected one, as in a checkpoint to go on from"),
        (lambda s: put(s, "2", "step"), "step: found '2', expected a whole number"),
        (lambda s: put(s, True, "step"), "step: found true, expected a whole number"),
        (lambda s: put(s, None, "best"), "best: found null, expected a number"),
        (lambda s: put(s, [1.0], "losses"), "losses[0]: found 1.0, expected a Tensor"),
        (lambda s: put(s, [torch.zeros(2)], "losses"), "losses[0]: found a tensor (2,), expected a number"),
        (lambda s: without(s, "ending", "stale"), "ending.stale: found no such key"),
        (lambda s: put(s, "bored", "ending", "reason"), "ending.reason: found 'bored', expected one of"),
        (lambda s: put(s, 5, "model", "head.1.weight"), "holds another architecture than Net: parameters 1 of another "
         "kind, such as head.1.weight is 5"),
        (lambda s: put(s, torch.zeros(3), "model", "head.1.weight"), "holds another architecture than Net: parameters "
         "1 of another shape, such as head.1.weight is (3,), expected (8, 16)"),
        (lambda s: put(s, torch.zeros(8, 16, dtype=torch.complex64), "model", "head.1.weight"), "holds another arch"),
        (lambda s: put(s, torch.zeros(8, 16, device="meta"), "model", "head.1.weight"), "holds another architecture"),
        (lambda s: put(s, {}, "optimizer"), "optimizer.param_groups: found no such key"),
        (lambda s: put(s, [5], "optimizer", "param_groups"), "optimizer.param_groups[0]: found 5, expected an object"),
        (lambda s: put(s, [{}], "optimizer", "param_groups"), "optimizer.param_groups[0].params: found no such key"),
        (lambda s: put(s, [1, 0], "optimizer", "param_groups", 0, "params"), "holds the optimiser of other parameters"),
        (lambda s: put(s, "fast", "optimizer", "param_groups", 0, "lr"), "optimizer.param_groups[0].lr: found 'fast'"),
        (lambda s: put(s, 5, "optimizer", "state"), "optimizer.state: found 5, expected an object"),
        (lambda s: put(s, {}, "optimizer", "state", 99), "optimizer.state[99]: found {}, expected what is kept of one"),
        (lambda s: put(s, torch.zeros(9), "optimizer", "state", 0, "exp_avg"), "optimizer.state[0].exp_avg: found (9"),
        (lambda s: put(s, torch.zeros(1), "optimizer", "state", 0, "exp_avg"), "optimizer.state[0].exp_avg: found (1"),
        (lambda s: put(s, 0.5, "optimizer", "state", 0, "exp_avg"), "optimizer.state[0].exp_avg: found 0.5, exp"),
        (lambda s: put(s, None, "optimizer", "state", 0, "exp_avg"), "optimizer.state[0].exp_avg: found null"),
        (lambda s: put(s, s["optimizer"]["state"][0]["exp_avg"] * 1j, "optimizer", "state", 0, "exp_avg"),
         "optimizer.state[0].exp_avg: found another kind of tensor"),
        (lambda s: put(s, True, "optimizer", "state", 0, "step"), "optimizer.state[0].step: found true, expected"),
        (lambda s: put(s, -1.0, "optimizer", "state", 0, "step"), "optimizer.state[0].step: found -1.0, expected"),
        (lambda s: put(s, torch.zeros(2), "optimizer", "state", 0, "step"), "optimizer.state[0].step: found a Tensor"),
        (lambda s: without(s, "optimizer", "state", 0, "exp_avg"), "optimizer.state[0]: found ['exp_avg_sq', 'step'], "
         "expected what AdamW keeps of a parameter, ['exp_avg', 'exp_avg_sq', 'step']"),
        (lambda s: put(s, {"momentum_buffer": None}, "optimizer", "state", 0), "optimizer.state[0]: found ['momentu"),
        (lambda s: without(s, "schedule", "last_epoch"), "schedule.last_epoch: found no such key"),
        (lambda s: put(s, [1.0], "schedule", "base_lrs"), "schedule.base_lrs: found [1.0], expected a list of "),
    ],
)  # fmt: skip
def test_checkpoints_of_other_content_name_the_key(tmp_path, checkpoint, change, told):
    folder = RunFolder.create(tmp_path / "run", {})
    folder.save(folder.last, change(checkpoint))
    with pytest.raises(ValueError, match=rf"last\.pt: {re.escape(told)}"):
        run(folder.path, steps=2)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("change", [
    lambda s: put(s, True, "optimizer", "param_groups", 0, "amsgrad"),
    lambda s: put(s, [0.9, 0.999], "optimizer", "param_groups", 0, "betas"),
    lambda s: put(s, {}, "optimizer", "state"),
    lambda s: put(s, {}, "optimizer", "state", 0),
    lambda s: put(s, 1, "optimizer", "state", 0, "step") if "step" in s["optimizer"]["state"][0] else
    put(s, None, "optimizer", "state", 0, "momentum_buffer"),
], ids=["amsgrad", "betas in a list", "not begun", "one not begun", "step as a number"])  # fmt: skip
def test_states_that_an_optimiser_may_have_are_gone_on_from(tmp_path, name, change):
    optimizer = OptimizerConfig(name=name, learning_rate=1e-3)
    _, _, folder = run(tmp_path / "run", steps=1, optimizer=optimizer)
    folder.save(folder.last, change(torch.load(folder.last, weights_only=True)))
    run(folder.path, steps=2, optimizer=optimizer)
    assert torch.load(folder.last, weights_only=True)["step"] == 2


def test_the_state_of_another_optimiser_is_refused(tmp_path):
    _, _, folder = run(tmp_path / "run", steps=1, optimizer=OptimizerConfig(name="sgd"))
    with pytest.raises(
        ValueError, match=r"last\.pt: optimizer\.state\[0\]: found \['momentum_buffer'\], expected what AdamW"
    ):
        run(folder.path, steps=2)


def test_many_keys_and_one_of_them_twice_take_no_time(folder):
    content = ", ".join(f'"{number}": 0' for number in [*range(100_000), 99_999])
    (folder.path / "result.json").write_text(f"{{{content}}}")
    with pytest.raises(ValueError, match=r"result\.json: 99999: found this key twice in one object"):
        folder.read_json("result.json")


def test_keys_of_other_versions_do_no_harm(tmp_path, checkpoint):
    folder = RunFolder.create(tmp_path / "run", {})
    state = put(checkpoint, 5, "schedule", "optimizer")  # torch would put it in the place of the optimiser
    state = put(state, [5], "schedule", "lr_lambdas")
    state = without(put(state, 1, "optimizer", "param_groups", 0, "new"), "optimizer", "param_groups", 0, "foreach")
    folder.save(folder.last, state)
    run(folder.path, steps=4)
