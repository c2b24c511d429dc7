"""A plan put together: what it comes to, what does not fit, and the verb."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from circlet.cli import main
from circlet.plan import Budget, Plan, Rate, Rates, Scale, measuring, of_h100, rates
from circlet.plan.advice import bottleneck, verdict
from circlet.plan.part import duration, size
from circlet.plan.scale import GIB
from circlet.plan.text import UNITS, assumptions, content, rows, sentences
from tests.plan.networks import NETWORK

ROOT = Path(__file__).parents[2]
SCALE = Scale(images=1e6, classes=1e5, ranks=8, batch=512)
PLAN = Plan(SCALE, NETWORK, of_h100())


def test_rates_are_those_of_the_files():
    """After benchmarks/gpu.sh and the like: put the new figures into circlet/plan/rates.py."""
    for row, start, column in (
        (rates.STEP, f"| {rates.STEP.case} | {rates.STEP.contender} |", 4),
        (rates.PAIRS, f"| {rates.PAIRS.case} | {rates.PAIRS.contender} |", 4),
        (rates.CLASSES, f"| {rates.CLASSES.case} | {rates.CLASSES.contender} |", 4),
        (rates.DECODED, f"| {rates.DECODED.case} | a second |", 5),
        (rates.FOUND, f"| {rates.FOUND.case} | exact |", 5),
    ):
        lines = (ROOT / "benchmarks" / "results" / row.file).read_text().splitlines()
        cells = next(line for line in lines if line.startswith(start)).split("|")
        assert float(cells[column]) == row.ms


def test_every_rate_has_a_unit_and_a_source():
    assert set(UNITS) == {each.name for each in fields(Rates)}
    assert all("benchmarks/results/" in rate.source for rate in of_h100().known().values())
    with pytest.raises(ValueError, match="wire: found 0 a second, expected a finite number above 0"):
        Rates(wire=Rate(0.0, "x"))


def test_nothing_is_guessed():
    """Without a rate for it, the time of a part is unknown, said to be so, and not counted."""
    assert "network: between ranks" in PLAN.unknown
    assert "network and optimiser" in PLAN.unknown
    assert "Not counted, for no rate is known: " in bottleneck(PLAN)
    assert bottleneck(replace(PLAN, rates=Rates())) == "No time is known: give rates by flags, or --measure."
    known = replace(PLAN, rates=of_h100().but({name: Rate(1e9, "x") for name in ("wire", "update", "disk", "message")}))
    assert known.unknown == ()
    assert known.seconds > PLAN.seconds
    assert all(part.seconds is None for part in replace(PLAN, rates=Rates()).once[:2])


def test_more_ranks_hold_less_of_the_classes_and_send_more():
    few, many = PLAN.but(ranks=2), PLAN.but(ranks=64)
    held = [next(part.held for part in plan.parts if part.name.startswith("class weights")) for plan in (few, many)]
    assert held[0] == pytest.approx(32 * held[1], rel=0.001)
    assert few.messages == many.messages
    assert PLAN.but(ranks=1).sent == 0
    assert many.bytes_of_process < few.bytes_of_process


def test_without_gpus_all_memory_is_one():
    own = PLAN.but(on_gpu=False, ranks=2)
    assert own.bytes_of_host == 2 * own.bytes_of_process
    assert sum(part.host for part in own.parts) == 0


def test_decoding_counts_where_it_is_slower():
    slow = replace(PLAN, rates=PLAN.rates.but({"decode": Rate(1.0, "x")}))
    assert slow.seconds == 64 / (8 * 1.0)
    assert bottleneck(slow).startswith("The bottleneck is decoding: 8.0 s a step")
    workers = int(re.search(r"--workers (\d+)", bottleneck(slow))[1])
    assert not bottleneck(slow.but(workers=workers)).startswith("The bottleneck is decoding")


def test_a_setting_that_is_said_to_fit_does():
    budget = Budget(0.8 * GIB, None)
    assert verdict(PLAN, Budget(80 * GIB, 1000 * GIB)) == ["It fits into the memory of a GPU and of a machine."]
    assert verdict(PLAN, Budget()) == []
    said = verdict(PLAN.but(ranks=1, batch=512), budget)
    assert said[0].startswith("It does not fit: ")
    assert "most of it is network: forward, backward" in said[0]
    flags = re.findall(r"--([\w-]+) ?(\w*)", said[1])
    assert flags
    for name, value in flags:
        changes = {"chunk": {"chunk": int(value or 0)}, "gpus": {"ranks": int(value or 0) if value.isdigit() else 0},
                   "grad-checkpointing": {"grad_checkpointing": True}, "optimizer": {"optimizer": "sgd"}}  # fmt: skip
        assert not budget.misses(PLAN.but(**{"ranks": 1, "batch": 512, **changes[name]}))
    assert "No single setting makes it fit; together: " in verdict(PLAN, Budget(1e6, 1e6))[-1]


def test_all_of_it_can_be_read():
    table = rows(PLAN)
    assert len({len(row) for row in table}) == 1
    assert len(table) == 2 + len(PLAN.parts) + len(PLAN.once)
    text = " ".join([*sentences(PLAN, Budget()), *assumptions(PLAN)])
    assert "1,954 steps" in text
    assert "a network at 224 x 224 in bf16" in text
    assert json.loads(json.dumps(content(PLAN, Budget(1, 1))))["fits"] is False
    assert (size(0), duration(None)) == ("", "?")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": float("nan")}, "images: found nan, expected a whole number"),
        ({"images": 1.5}, "images: found 1.5, expected a whole number"),
        ({"batch": 500}, "batch: found 500 images over 8 ranks, expected a multiple"),
        ({"classes": 1e7}, "classes: found 1e+07 of 1e+06 images"),
        ({"batch": 8_000_000}, "batch: found 8000000 of 1e+06 images"),
        ({"sample": 0.0}, "sample: found 0.0, expected above 0"),
        ({"size": (0, 5)}, "size: found (0, 5), expected a whole number of at least 1"),
        ({"level": "all"}, "level: found 'all', expected one of class, pair, joint"),
        ({"dim": 10**14}, "dim: found 100000000000000, expected a whole number"),
    ],
)
def test_bad_sizes(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(SCALE, **changes)


def test_a_network_without_blocks_cannot_be_computed_again():
    with pytest.raises(ValueError, match="grad_checkpointing: found with a network, which has no blocks"):
        Plan(replace(SCALE, grad_checkpointing=True), NETWORK._replace(recomputed=None), Rates()).parts  # noqa: B018


SMALL = ["plan", "--backbone", "small", "--pooling", "flatten", "--size", "32", "32", "--dim", "16"]


def test_the_verb(tmp_path, capsys):
    path = tmp_path / "plan.json"
    assert main([*SMALL, "--gpus", "8", "--gpu-memory", "80", "--rates.bandwidth", "40", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("part ")
    assert "It fits into the memory of a GPU." in out
    assert "wire: 4e+10 bytes a second sent by a process, given (--rates.bandwidth 40)." in out
    found = json.loads(path.read_text())
    assert found["steps_of_an_epoch"] == 3907
    assert any(part["name"] == "class weights and optimiser" for part in found["parts"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "3"], "--batch-size: found 256 images over 3 ranks"),
        (["--gpus", "0"], "--gpus: found 0, expected a whole number of at least 1"),
        (["--gpus", "2", "--processes", "2"], "--processes: found with --gpus 2, expected one of the two"),
        (["--gpu-memory", "-1"], "--gpu-memory: found -1, expected a finite number above 0"),
        (["--rates.tflops", "0"], "--rates.tflops: found 0, expected a finite number above 0"),
        (["--root", "photos"], "--root: found photos without --measure"),
        (["--backbone", "resnet51"], "backbone (--model.backbone): found 'resnet51'"),
        (["--checkpoint-every", "0"], "--checkpoint-every: found 0, expected at least 1"),
    ],
)
def test_bad_flags_are_one_line(arguments, message, capsys):
    assert main([*SMALL, *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_this_machine_can_be_measured(capsys, monkeypatch):
    less = {"SECONDS": 0.01, "_OPERATIONS": 1e7, "_CLASSES": 500, "_VECTORS": 512, "_WEIGHTS": 2**16, "_DECODED": 8}
    for name, value in less.items():
        monkeypatch.setattr(measuring, name, value)
    assert main([*SMALL, "--processes", "2", "--batch-size", "64", "--measure"]) == 0
    out = capsys.readouterr().out
    assert out.count("measured here (") == 6


@pytest.mark.slow
def test_the_examples_of_the_documentation_are_what_the_verb_says(capsys):
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    arguments, expected = re.findall(r"<!-- circlet plan (.*?) -->(.*?)<!-- end -->", text, re.DOTALL)[0]
    assert main(["plan", *arguments.split()]) == 0
    out = capsys.readouterr().out
    said = [line.strip() for line in expected.splitlines() if line.strip()]
    assert said[0] == f"circlet plan {arguments}"
    assert said[1:] == [line.strip() for line in out.splitlines() if line.strip()]
