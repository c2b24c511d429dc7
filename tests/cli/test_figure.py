"""`circlet figure`: files as asked for, runs made once, and errors before anything is run."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from circlet.analyse import Trace
from circlet.cli import main
from circlet.experiments import parse_loss, series
from circlet.experiments.experiment import at_level
from circlet.recipes import RECIPES
from circlet.training import RunFolder


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def figure(*arguments):
    return main(["figure", *arguments])


@pytest.mark.parametrize(
    ("name", "start"), [("1.png", b"\x89PNG"), ("made/1.pdf", b"%PDF"), ("1.svg", b"<?xml")], ids=["png", "pdf", "svg"]
)
def test_formats(name, start, tmp_path, capsys):
    assert figure("1", "--out", name) == 0
    assert (tmp_path / name).read_bytes().startswith(start)
    assert str(tmp_path / name) in capsys.readouterr().out


def test_gradients_of_chosen_losses(tmp_path):
    assert figure("2", "--losses", "arcface", "circle:margin=0.4:gamma=80", "--points", "3", "--out", "2.svg") == 0
    assert (tmp_path / "2.svg").stat().st_size > 1000


def test_explorer(tmp_path):
    assert figure("explorer") == 0
    assert "circletEvaluate" in (tmp_path / "explorer.html").read_text()


@pytest.mark.parametrize("number", ["1", "2", "3", "4", "5", "explorer"])
def test_help_of_each(number, capsys):
    with pytest.raises(SystemExit, match="0"):
        figure(number, "--help")
    assert "--out PATH" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1", "--out", "x.gif"], "out: found x.gif, expected a file name that ends in .png, .svg, .pdf"),
        (["explorer", "--out", "x.png"], "out: found x.png, expected a file name that ends in .html"),
        (["2", "--losses", "cricle"], "loss: found 'cricle', expected one of circle"),
        (
            ["2", "--losses", "circle:margin"],
            "losses: found 'circle:margin', expected NAME[:pair|class|joint][:SETTING=NUMBER ...]",
        ),
        (["2", "--losses", "circle:colour=1"], "loss.colour: found with circle, which has margin, gamma"),
        (["2", "--losses", "triplet:gamma=1"], "loss.gamma: found with triplet"),
        (["2", "--points", "1"], "points: found 1"),
        (["3", "--recipe", "faces"], "recipe: found 'faces', expected one of"),
        (["3", "--losses", "softmax"], "found nothing to sweep"),
        (
            ["3", "--recipe", "circle-r50-market", "--metric", "recall@1"],
            "metric: found 'recall@1', expected one of rank-1",
        ),
        (["3", "--recipe", "manifest", "--root", "a.csv", "--images", "nowhere"], "a.csv"),
        (["3", "--gammas", "32", "-1"], "gamma: found -1.0, expected a finite number > 0"),
        (["4", "--of", "nowhere"], "nowhere: no such folder"),
        (["5", "--steps", "0"], "steps: found 0"),
    ],
)
def test_errors_leave_nothing_behind(arguments, message, tmp_path, capsys):
    assert figure(*arguments) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_losses_get_their_own_defaults():
    assert parse_loss("am_softmax").config.numbers["margin"] == 0.35
    assert parse_loss("triplet").config.numbers == {"margin": 0.3}


def test_levels_of_a_recipe():
    pair = RECIPES["glyphs"](steps=7, seed=3)
    assert (pair.loss.level, pair.loop.steps, pair.loop.seed) == ("pair", 7, 3)
    assert at_level(pair, "pair") == pair
    by_class = at_level(pair, "class")
    assert (by_class.batch.sampler, by_class.augment.composed_classes) == ("shuffle", 0.0)
    joint = at_level(pair, "joint")
    assert (joint.batch.sampler, joint.augment.warped_classes) == ("pk", 0.0)


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for c in range(6):
        (root / f"{c}").mkdir(parents=True)
        for i in range(4):
            image = Image.new("RGB", (24, 24), "white")
            ImageDraw.Draw(image).ellipse((2 + i, 2, 10 + 2 * c, 20), fill=(40 * c, 90, 200 - 30 * c))
            image.save(root / f"{c}" / f"{i}.png")
    return root


@pytest.fixture
def small(monkeypatch):
    """The recipe `scratch` with images and batches of a size for tests."""
    whole = RECIPES["scratch"]()
    recipe = replace(
        whole,
        data=replace(whole.data, size=(20, 20), validation_share=0.0),
        model=replace(whole.model, size=(16, 16)),
        batch=replace(whole.batch, classes=3, samples=3),
        loop=replace(whole.loop, precision="fp32"),
    )
    monkeypatch.setitem(RECIPES, "scratch", replace(RECIPES["scratch"], make=lambda: recipe))


def test_runs_are_made_once_and_gone_on_with(photos, small, tmp_path, capsys, monkeypatch):
    arguments = ["3", "--recipe", "scratch", "--root", str(photos), "--steps", "2", "--losses", "circle:gamma=32",
                 "arcface", "--gammas", "16", "32", "--margins", "-0.1", "0.25", "--out", "3.svg"]  # fmt: skip
    assert figure(*arguments) == 0
    runs = sorted((tmp_path / "runs" / "figures").glob("*/"))
    # Circle at gamma 32, m 0.25 is in both sweeps; ArcFace takes no margin below 0.
    assert len(runs) == 3 + 3
    assert all((run / "result.json").is_file() for run in runs)
    assert "run 6 of 6" in capsys.readouterr().out
    (runs[0] / "result.json").unlink()  # as if cut off just before the end
    before = (runs[0] / "metrics.jsonl").read_text()
    (tmp_path / "3.svg").unlink()
    assert figure(*arguments) == 0
    out = capsys.readouterr().out
    assert "run 1 of 1" in out
    assert (runs[0] / "metrics.jsonl").read_text() == before  # gone on with, not begun anew
    assert (tmp_path / "3.svg").is_file()
    monkeypatch.setattr(series, "train", None)
    assert figure(*arguments, "--metric", "r_precision") == 0  # all read
    assert figure(*arguments, "--metric", "rank-1") == 1
    assert "metric: found 'rank-1', expected one of recall@1" in capsys.readouterr().err


def test_metrics_are_known_before_the_training(photos, small, tmp_path):
    assert series.metric_names(RECIPES["circle-r50-market"]())[0] == "rank-1"
    base = RECIPES["scratch"](root=photos, steps=1)
    base = replace(base, ks=(1, 2))
    (folder,) = series.finish([base], tmp_path / "runs", torch.device("cpu"))
    assert list(folder.read_result()["test"]) == series.metric_names(base)


def test_a_run_that_diverges_is_shown_as_such(photos, small, tmp_path, capsys, monkeypatch):
    """ArcFace's run of Figure 3 breaks down at its second step; the others go on, and it is not run again."""
    real = series.train

    def train(experiment, splits, folder, device):
        if experiment.loss.name == "arcface":
            folder.end_without_result("step 2: the loss is nan")
            raise FloatingPointError("step 2: the loss is nan")
        return real(experiment, splits, folder, device)

    monkeypatch.setattr(series, "train", train)
    arguments = ["3", "--recipe", "scratch", "--root", str(photos), "--steps", "1", "--losses", "arcface", "circle",
                 "--gammas", "32", "--margins", "--out", "3.svg"]  # fmt: skip
    assert figure(*arguments) == 0
    assert "diverged: step 2: the loss is nan" in capsys.readouterr().out
    assert "<!-- arcface, m = 0.5: diverged -->" in (tmp_path / "3.svg").read_text()
    monkeypatch.setattr(series, "train", None)
    assert figure(*arguments) == 0
    (diverged,) = (tmp_path / "runs" / "figures").glob("*arcface*")
    assert main(["report", str(diverged)]) == 1
    assert "found a run that diverged (step 2: the loss is nan)" in capsys.readouterr().err
    assert figure("5", "--of", str(diverged), "--out", "5.svg") == 1
    assert "the run diverged and has no end to show" in capsys.readouterr().err


def a_run(path, name, margin):
    experiment = series.with_loss(RECIPES["glyphs"](), parse_loss(f"{name}:margin={margin}").config)
    folder = RunFolder.create(path, experiment.to_json())
    trace = Trace(path)
    for step in range(10):
        trace.add([0.05 * step + 0.4, 0.7], [0.5 - 0.05 * step, 0.35])
        with open(path / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": step, "loss": 1.0, "s_p": 0.1 * step, "s_n": 0.0}) + "\n")
    return folder


def test_convergence_of_given_runs(tmp_path):
    a_run(tmp_path / "a", "am_softmax", 0.35)
    a_run(tmp_path / "b", "circle", 0.25)
    assert figure("4", "--of", "a", "b", "--out", "4.svg") == 0
    assert figure("5", "--of", "a", "b", "--out", "5.svg") == 0
    for name in ("4.svg", "5.svg"):
        assert "<!-- glyphs, pair level, 300 steps" in (tmp_path / name).read_text()
    (tmp_path / "b" / "pairs.jsonl").unlink()
    (tmp_path / "5.svg").unlink()
    assert figure("5", "--of", "b", "--out", "5.svg") == 1
    assert not (tmp_path / "5.svg").exists()


def test_convergence_of_runs_made_for_it(photos, small, tmp_path):
    arguments = ["--recipe", "scratch", "--root", str(photos), "--steps", "4", "--log-every", "1",
                 "--losses", "circle:gamma=32", "am_softmax", "--level", "class"]  # fmt: skip
    assert figure("4", *arguments, "--out", "4.svg") == 0
    assert figure("5", *arguments, "--out", "5.svg") == 0
    assert len(list((tmp_path / "runs" / "figures").glob("*/"))) == 2
