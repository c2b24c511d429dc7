"""A run goes on with other settings: those that leave its past alone are taken and noted, others refused by name."""

import json
import shutil

import pytest
import torch
from PIL import Image

import circlet
from circlet.cli import main
from circlet.cli.resume import parse_resume
from circlet.data import DataError
from circlet.experiments import changed, run
from circlet.experiments.resuming import MAY_CHANGE, changes
from circlet.recipes import RECIPES
from circlet.training import OptimizerConfig
from circlet.training.optimizer import factor

SMALL = ["--steps", "2", "--data.size", "10", "10", "--model.size", "8", "8", "--batch.classes", "2", "--batch.samples",
         "2", "--loop.precision", "fp32", "--data.channels", "1", "--model.mean", "0.5", "--model.std", "0.5",
         "--data.validation-share", "0", "--loop.log-every", "1"]  # fmt: skip
QUICK = ["--device", "cpu", "--no-report"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with photos, four classes of three, and a run of two steps on them."""
    place = tmp_path_factory.mktemp("trained")
    for number in range(4):
        (place / "photos" / f"class {number}").mkdir(parents=True)
        for i in range(3):
            image = Image.new("L", (12, 12), 60 * number + i)
            image.save(place / "photos" / f"class {number}" / f"{i}.png")
    arguments = ["train", "scratch", "--root", str(place / "photos"), "--run-dir", str(place / "run")]
    assert main([*arguments, *SMALL, *QUICK]) == 0
    return place


@pytest.fixture
def place(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "place")


def steps_of(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def config(run):
    return json.loads((run / "config.json").read_text())


def test_a_finished_run_is_trained_for_longer(place):
    run = place / "run"
    assert main(["train", "--resume", str(run), "--steps", "4", *QUICK]) == 0
    assert steps_of(run) == [1, 2, 3, 4]
    assert config(run)["loop"]["steps"] == 4
    note = {"step": 2, "changed": {"loop.steps": [2, 4]}}
    assert json.loads((run / "resumed.json").read_text()) == {"resumed": [note]}
    rates = [json.loads(line)["learning_rate"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    optimizer = OptimizerConfig(**config(run)["loop"]["optimizer"])
    highest = optimizer.learning_rate
    assert rates[2:] == pytest.approx([highest * factor(optimizer, step, 4) for step in (2, 3)])
    assert main(["train", "--resume", str(run), "--steps", "4", *QUICK]) == 0  # said again: nothing is new
    assert len(json.loads((run / "resumed.json").read_text())["resumed"]) == 1


def test_in_python_with_the_keywords_of_recipes(place):
    run = circlet.resume(
        place / "run", steps=3, root=str(place / "photos"), data__workers=0, device="cpu", report=False
    )
    assert (run.experiment.loop.steps, run.experiment.data.workers) == (3, 0)
    assert steps_of(place / "run") == [1, 2, 3]
    with pytest.raises(ValueError, match=r"loss\.gamma: found 7\.0 for a run that began with 80\.0, expected what"):
        circlet.resume(place / "run", loss__gamma=7)


def test_moved_images(place, capsys):
    (place / "photos").rename(place / "moved")
    run = place / "run"
    assert main(["train", "--resume", str(run), "--root", str(place / "moved"), "--steps", "3", *QUICK]) == 0
    assert config(run)["data"]["root"] == str(place / "moved")


def test_other_images_under_the_new_root_change_nothing(place, capsys):
    shutil.copytree(place / "photos", place / "other")
    (place / "other" / "class 1").rename(place / "other" / "another")
    before = {path.name: path.read_bytes() for path in (place / "run").iterdir()}
    assert main(["train", "--resume", str(place / "run"), "--root", str(place / "other"), "--steps", "3", *QUICK]) == 1
    assert {path.name: path.read_bytes() for path in (place / "run").iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--loss.gamma", "7"], "loss.gamma: found 7.0 for a run that began with 80.0"),
        (["--loop.seed", "1"], "loop.seed: found 1 for a run that began with 0, expected what it began with"),
        (["--test.flip"], "test.flip: found True for a run that began with False, expected what it began with: the "
         "best checkpoint may be chosen by it (circlet evaluate RUN takes it too)"),
        (["--steps", "1"], "loop.steps: found 1, expected at least 2, the steps that the run has taken"),
        (["--loss.name", "triplet"], "loss.name: found 'triplet' for a run that began with 'circle'"),
    ],
)  # fmt: skip
def test_what_the_past_comes_from_is_refused_by_name(trained, flags, message, capsys):
    before = {path.name: path.read_bytes() for path in (trained / "run").iterdir()}
    assert main(["train", "--resume", str(trained / "run"), *flags, *QUICK]) == 1
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (trained / "run").iterdir()} == before


def test_the_recipe_may_be_said_again_but_no_other(trained, capsys):
    assert main(["train", "glyphs", "--resume", str(trained / "run")]) == 1
    assert "recipe: found glyphs for a run of scratch, expected that one or none (--resume)" in capsys.readouterr().err


def test_help_lists_what_may_change_and_nothing_else(trained, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--resume", str(trained / "run"), "--help"])
    text = capsys.readouterr().out
    for setting in MAY_CHANGE - {"transfer.stages"}:
        assert f"--{setting.replace('_', '-')} " in text or f"--{setting.replace('_', '-')}," in text, setting
    assert "--loss." not in text
    assert "--loop.seed" not in text


def test_a_run_that_patience_ended_needs_more_of_it(place, capsys):
    run = place / "run"
    state = torch.load(run / "last.pt", weights_only=True)
    state["ending"]["reason"], state["ending"]["stale"] = "patience", 3
    circlet.training.RunFolder(run).save(run / "last.pt", state)
    assert main(["train", "--resume", str(run), "--steps", "3", *QUICK]) == 1
    assert (
        "for a run that its patience ended after 2 steps, expected --loop.patience beside it" in capsys.readouterr().err
    )
    assert config(run)["loop"]["steps"] == 2


def test_the_network_joins_the_stages_of_a_run_from_a_pretrained_one():
    before = RECIPES["folder"](root="photos")
    assert changes(before, changed(before, steps=50)).keys() == {"loop.steps", "transfer.stages"}
    assert changes(before, changed(before, minutes=20)).keys() == {"transfer.minutes"}
    timed = changed(before, minutes=20)
    with pytest.raises(ValueError, match=r"loop\.steps: found 50 for a run that ends by its time, expected --minutes"):
        changes(timed, changed(timed, steps=50))
    with pytest.raises(ValueError, match=r"transfer\.stages: found \['head'\]"):
        changes(before, changed(before, transfer__stages=("head",)))


def test_weights_may_have_moved_where_they_are_not_read_again():
    before = RECIPES["scratch"](model__weights="a.pth")
    assert changes(before, changed(before, model__weights="b.pth")).keys() == {"model.weights"}
    for begun, other in ((before, None), (RECIPES["scratch"](), "b.pth"), (RECIPES["folder"](model__weights="a"), "b")):
        with pytest.raises(ValueError, match=r"model\.weights: found"):
            changes(begun, changed(begun, model__weights=other))


def test_a_run_of_another_recipe_is_another_run():
    before = RECIPES["scratch"]()
    with pytest.raises(ValueError, match="recipe: found 'other'"):
        changes(before, changed(before, recipe="other"))


def test_a_longer_run_has_no_result_until_it_has_reached_its_length(place, monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            circlet.resume(place / "run", data__workers=0, device="cpu", report=False)
        assert (place / "run" / "result.json").exists()  # it is as long as it was
        with pytest.raises(KeyboardInterrupt):
            circlet.resume(place / "run", steps=4, device="cpu", report=False)
    assert config(place / "run")["loop"]["steps"] == 4
    with pytest.raises(ValueError, match=r"has no result.json yet"):
        circlet.load(place / "run").metrics  # noqa: B018
    circlet.resume(place / "run", device="cpu", report=False)
    assert circlet.load(place / "run").metrics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loop__patience": 3}, r"loop\.patience: found 3 without validation classes, expected 0, or classes to valid"),
        ({"loop__trackers": ("nomod.x:Y",)}, "nomod"),
        ({"steps": 4, "data__workers": 0}, "cannot be loaded"),
    ],
)
def test_changes_with_which_a_run_does_not_go_on_are_not_kept(settings, message, place, monkeypatch):
    def failed(*arguments):
        raise DataError("cannot be loaded")

    monkeypatch.setattr(run, "load_run_data", failed)
    before = {path.name: path.read_bytes() for path in (place / "run").iterdir()}
    with pytest.raises(ValueError, match=message):
        circlet.resume(place / "run", device="cpu", report=False, **settings)
    assert {path.name: path.read_bytes() for path in (place / "run").iterdir()} == before


def test_a_run_that_its_time_ended_needs_more_of_it(place, capsys):
    state = torch.load(place / "run" / "last.pt", weights_only=True)
    state["ending"]["reason"] = "seconds"
    circlet.training.RunFolder(place / "run").save(place / "run" / "last.pt", state)
    assert main(["train", "--resume", str(place / "run"), "--steps", "3", *QUICK]) == 1
    assert "that its seconds ended after 2 steps, expected --loop.seconds beside it" in capsys.readouterr().err


def test_the_folder_may_be_said_again_but_no_other(trained, tmp_path, capsys):
    run = str(trained / "run")
    again = parse_resume(["--resume", run, "--run-dir", f"{trained}/photos/../run"])
    assert (again.changes, again.folder.path) == ({}, trained / "run")
    assert main(["train", "--resume", run, "--run-dir", str(tmp_path)]) == 1
    assert f"--run-dir: found {tmp_path} for the run in {run}, expected that folder or none" in capsys.readouterr().err
