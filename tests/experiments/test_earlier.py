"""A run folder of the version before the redesign (tests/golden/earlier_run) loads, is evaluated and goes on.

Its checkpoint was written by that version, then filled with a pattern that compresses well; evaluation.json is what
that version found with it.
"""

import json
import lzma
import shutil
from pathlib import Path

import pytest

import circlet
from circlet.cli import main
from circlet.experiments.earlier import as_of_now

EARLIER = Path(__file__).parents[1] / "golden" / "earlier_run"


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    shutil.copytree(EARLIER, path)
    (path / "last.pt").write_bytes(lzma.decompress((path / "last.pt.xz").read_bytes()))
    (path / "last.pt.xz").unlink()
    return path


@pytest.mark.slow
def test_it_is_evaluated_as_then(run):
    before = json.loads((run / "evaluation.json").read_text())
    assert "view" in before["config"]["model"]
    assert before["config"]["loss"]["alpha"] is None
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    after = json.loads((run / "evaluation.json").read_text())
    for what in ("test", "raw_pixels"):
        found = {name: after[what][name] for name in before[what]}  # a later version adds metrics
        assert found == pytest.approx(before[what], abs=2e-3)


@pytest.mark.subprocess
def test_it_goes_on(run, monkeypatch):
    monkeypatch.setattr("circlet.report.embedding_map.MAX_POINTS", 50)  # a thousand take seconds
    assert main(["train", "--resume", str(run), "--device", "cpu"]) == 0
    found = circlet.load(run)
    assert found.log[-1]["step"] == 11
    assert found.experiment.loss.numbers == {"margin": 0.4, "gamma": 32.0}
    assert found.metrics["recall@1"] > 0.05


def test_settings_that_nobody_knows_are_refused_with_what_to_do(run):
    content = json.loads((run / "config.json").read_text())
    content["model"]["colour"] = "red"
    (run / "config.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"config.json: config.model: found unknown settings \['colour'\].*the version"
    ):
        circlet.load(run)


def test_only_old_words_are_changed():
    content = json.loads((EARLIER / "config.json").read_text())
    now = as_of_now(content)
    assert now["model"].pop("crop_share") == content["model"].pop("view")
    assert now == content
