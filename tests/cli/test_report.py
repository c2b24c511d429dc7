"""`circlet report`: the page of a finished run, built again from its folder."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from circlet.analyse import Trace
from circlet.cli import main
from circlet.cli.report import main as report
from circlet.experiments import Experiment, LossConfig
from circlet.report.of_run import _sampled

SMALL = ["--steps", "4", "--loop.log-every", "2", "--data.size", "12", "12", "--model.size", "8", "8",
         "--batch.classes", "3", "--batch.samples", "2", "--loop.precision", "fp32", "--data.validation-share",
         "0"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on eight classes of four images of one colour each."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for c in range(8):
        (root / f"class <{c}>").mkdir()
        for i in range(4):
            Image.new("RGB", (16, 16), tuple(rng.integers(0, 255, 3).tolist())).save(root / f"class <{c}>" / f"{i}.png")
    path = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", "scratch", "--root", str(root), "--run-dir", str(path), *SMALL]) == 0
    return path


def headings(page):
    return re.findall(r"<h2>([^<]+)</h2>", page)


def test_it_is_built_again_with_the_numbers_of_the_run(run, capsys):
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert str(run / "report.html") in capsys.readouterr().out
    page = (run / "report.html").read_text()
    result = json.loads((run / "result.json").read_text())
    recall, raw = (result[row]["recall@1"] for row in ("test", "raw_pixels"))
    assert f'<th scope="row">Recall@1</th><td>{raw:.3f}</td><td>{recall:.3f}</td>' in page
    assert "scratch: circle loss" in page
    assert "Training" in headings(page)
    assert "class &lt;" in page
    assert "class <" not in page.split("<script")[0]


def test_a_trace_becomes_the_plane(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    (copied / "pairs.jsonl").unlink(missing_ok=True)
    report([str(copied), "--out", str(tmp_path / "without.html")])
    assert "The plane of similarities" not in headings((tmp_path / "without.html").read_text())
    (copied / "metrics.jsonl").write_text("")
    trace = Trace(copied)
    trace.add([0.5, 0.6], [0.1, 0.2])
    (copied / "metrics.jsonl").write_text('{"step": 2, "loss": 1.0}\n')
    report([str(copied), "--out", str(tmp_path / "with.html")])
    page = (tmp_path / "with.html").read_text()
    assert "The plane of similarities" in headings(page)
    assert "Circle, margin 0.4, gamma 80" in page


def test_shares_of_class_weights_are_told():
    pair, joint = Experiment(), replace(Experiment(), loss=LossConfig(level="joint", sample=0.25))
    assert _sampled(pair) == ""
    assert "25% of the class weights" in _sampled(joint)
    whole = _sampled(replace(joint, loss=LossConfig(level="class")))
    assert "its part of the batch and of the class weights" in whole
    assert "%" not in whole


def test_a_metric_that_is_no_number_is_shown_as_a_dash(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    result = json.loads((copied / "result.json").read_text())
    result["test"]["map@r"] = None
    (copied / "result.json").write_text(json.dumps(result))
    report([str(copied)])
    raw = result["raw_pixels"]["map@r"]
    assert f'<th scope="row">MAP@R</th><td>{raw:.3f}</td><td>–</td>' in (copied / "report.html").read_text()


def test_an_unfinished_run_is_an_error(run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / "run")
    (copied / "result.json").unlink()
    assert main(["report", str(copied)]) == 1
    assert "no result.json in it; expected a finished run" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 1
    assert "no config.json in it" in capsys.readouterr().err
