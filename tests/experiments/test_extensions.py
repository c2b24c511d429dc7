"""Losses, data sets, backbones, recipes, transforms and trackers from outside; what is wrong with one is named."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import circlet
from circlet import extensions
from circlet.cli import main
from circlet.data.catalogue import find_data_set
from circlet.experiments import LossConfig
from circlet.losses import find_loss
from circlet.recipes import find_recipe

MODULE = '''
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import circlet
from circlet import Form, PairLoss, Scale, rules
from circlet.data import open_data_set

print("imported")  # which opening a folder must not do


@dataclass(frozen=True)
class Squared(rules.Rule):
    gamma: float = 16.0

    def positive(self, s):
        return self.gamma * (1 - s).square()

    def negative(self, s):
        return self.gamma * s.clamp(min=0).square()


class MyLoss(PairLoss):
    """Squares instead of self-paced weights."""

    gamma: float = Scale(default=16.0)

    def form(self):
        return Form(Squared(self.gamma))


def letters(root, *, seed=0):
    """Few characters."""
    splits = open_data_set("glyphs", seed=seed)
    train, query = splits.train, splits.query
    return replace(splits, train=train.subset(np.flatnonzero(train.labels < 12)),
                   query=query.subset(np.flatnonzero(query.labels < 6)))


class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 8, 3, stride=2), nn.ReLU())

    def forward(self, images):
        return self.layers(images)


class FlatNet(Net):
    def forward(self, images):
        return "features"


def mirrored(images):
    return images.flip(3)


def cut(images):
    return images[:1]


def quick():
    """Six steps."""
    return circlet.recipes.glyphs(steps=4, batch__classes=6, batch__samples=2, loop__log_every=2)


class Lines:
    def __init__(self, folder, config):
        self.file = open(Path(folder) / "tracked.txt", "a")
        self.loss = config["loss"]["name"]

    def __call__(self, line):
        print(self.loss, line["step"], file=self.file, flush=True)

    def close(self):
        self.file.close()


class Breaks(Lines):
    def __call__(self, line):
        raise OSError("no network")


def no_experiment():
    return {"loss": "circle"}


number = 3
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module `theirs` on the path, and no memory of it."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "theirs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # for the processes of a comparison
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("theirs", None)
    yield tmp_path
    sys.modules.pop("theirs", None)
    extensions._entry_points.cache_clear()


def installed(package: Path, name: str, *lines: str) -> None:
    """A distribution with entry points, as pip would leave it."""
    info = package / "site" / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    extensions._entry_points.cache_clear()


@pytest.mark.subprocess
def test_everything_from_outside_trains_compares_and_reports(package, capsys):
    arguments = ["theirs:quick", "--loss.name", "theirs:MyLoss", "--loss.gamma", "8", "--data.source", "theirs:letters",
                 "--model.backbone", "theirs:Net", "--augment.transform", "theirs:mirrored", "--loop.trackers",
                 "theirs:Lines", "--run-dir", "run", "--device", "cpu"]  # fmt: skip
    assert main(["train", *arguments]) == 0
    out = capsys.readouterr().out
    assert "6 classes" in out
    config = json.loads(Path("run/config.json").read_text())
    assert (config["loss"]["name"], config["loss"]["gamma"]) == ("theirs:MyLoss", 8.0)
    assert (config["recipe"], config["data"]["source"]) == ("theirs:quick", "theirs:letters")
    assert Path("run/tracked.txt").read_text().split("\n")[:2] == ["theirs:MyLoss 2", "theirs:MyLoss 4"]
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["gradient_p"] > 0  # telemetry
    trust = ["--trust", "theirs:MyLoss", "theirs:letters", "theirs:Net", "theirs:mirrored", "theirs:Lines"]
    for verb in (["evaluate", "run"], ["report", "run"], ["suggest", "run"]):
        assert main([*verb, *trust]) == 0
    assert main(["train", "--resume", "run", *trust, "--device", "cpu"]) == 0
    assert main(["figure", "2", "--losses", "theirs:MyLoss", "--points", "3", "--out", "2.png"]) == 0
    common = ["--data.source", "theirs:letters", "--model.backbone", "theirs:Net", "--augment.transform", "None"]
    losses = ["theirs:MyLoss", "theirs:MyLoss:class:gamma=4"]
    assert main(["compare", "theirs:quick", "--losses", *losses, "--seeds", "1", *common]) == 0
    assert "theirs:MyLoss:class:gamma=4" in capsys.readouterr().out
    costs = list(Path("runs").rglob("cost.json"))
    assert len(costs) == 2
    for path in costs:  # of a process, from its start on
        spent, result = (json.loads(path.with_name(name).read_text()) for name in ("cost.json", "result.json"))
        assert spent["cpu_seconds"] > result["train_seconds"] > 0


@pytest.mark.slow
def test_opening_a_folder_of_somebody_else_imports_nothing(package, capsys):
    assert main(["train", "theirs:quick", "--loss.name", "theirs:MyLoss", "--data.source", "theirs:letters",
                 "--model.backbone", "theirs:Net", "--run-dir", "run", "--device", "cpu"]) == 0  # fmt: skip
    capsys.readouterr()
    sys.modules.pop("theirs")
    for verb in (["evaluate"], ["embed"], ["report"], ["suggest"], ["train", "--resume"], ["figure", "4", "--of"]):
        assert main([*verb, "run"]) == 1
        out, error = capsys.readouterr()
        assert "imported" not in out
        assert "nothing was imported. If you trust it: --trust theirs:" in error
        assert "theirs" not in sys.modules
    run = circlet.load("run")
    assert run.metrics["recall@1"] >= 0
    assert run.experiment.loss.name == "theirs:MyLoss"
    main(["recipes", "list", "--runs", "."])
    assert "theirs" not in sys.modules
    with pytest.raises(ValueError, match="--trust theirs:"):
        _ = run.model
    trusted = circlet.load("run", trust=["theirs:Net", "theirs:letters"])
    assert trusted.model.embedding_dim == 256


@pytest.mark.slow
def test_installed_packages_register_names(package, capsys):
    groups = {"losses": "mine = theirs:MyLoss", "recipes": "quick = theirs:quick",
              "datasets": "letters = theirs:letters", "backbones": "net = theirs:Net"}  # fmt: skip
    installed(package, "theirs", *(line for group, point in groups.items() for line in (f"[circlet.{group}]", point)))
    assert find_loss("mine").__name__ == "MyLoss"
    assert find_recipe("quick")().loop.steps == 4
    assert find_data_set("letters").name
    assert main(["train", "quick", "--loss.name", "mine", "--data.source", "letters", "--model.backbone", "net",
                 "--run-dir", "run", "--device", "cpu"]) == 0  # fmt: skip
    assert main(["evaluate", "run"]) == 0  # a run folder may name what an installed package has registered
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert "quick" in text
    assert "mine" in text
    assert main(["recipes"]) == 0
    assert main(["datasets"]) == 0
    text = capsys.readouterr().out
    assert "quick" in text
    assert "letters" in text


def test_two_packages_with_one_name_are_named(package):
    installed(package, "one", "[circlet.losses]", "mine = theirs:MyLoss")
    installed(package, "two", "[circlet.losses]", "mine = theirs:Other")
    with pytest.raises(ValueError, match=r"loss 'mine': registered by \w+ \(theirs:\w+\) and by \w+ \(theirs:\w+\)"):
        find_loss("mine")
    installed(package, "three", "[circlet.recipes]", "glyphs = theirs:quick")
    with pytest.raises(ValueError, match=r"recipe 'glyphs': found in circlet and in three \(theirs:quick\)"):
        find_recipe("glyphs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loss.name", "nowhere:Loss"], "loss 'nowhere:Loss': module nowhere could not be imported (ModuleNotFound"),
        (["--loss.name", "theirs:Nothing"], "loss 'theirs:Nothing': found no Nothing in theirs"),
        (["--loss.name", "theirs:number"], "loss 'theirs:number': found int, expected a subclass of circlet.PairLoss"),
        (
            ["--loss.name", "theirs:MyLoss", "--loss.margin", "1"],
            "loss.margin: found with theirs:MyLoss, which has gamma",
        ),
        (
            ["--loss.name", "theirs:MyLoss", "--loss.gamma", "-1"],
            "MyLoss: gamma: found -1.0, expected a finite number > 0",
        ),
        (["--data.source", "theirs:number"], "data set 'theirs:number': found int, expected a DataSet"),
        (["--model.backbone", "theirs:number"], "backbone 'theirs:number': found int"),
        (["--model.backbone", "theirs:FlatNet"], "backbone 'theirs:FlatNet'"),
        (["--augment.transform", "theirs:number"], "transform 'theirs:number': found int, expected a function"),
        (
            ["--augment.transform", "theirs:cut"],
            "transform 'theirs:cut': gave shape (1, 1, 48, 48) for images of shape",
        ),
        (["--loop.trackers", "theirs:number"], "tracker 'theirs:number': found int, expected a function or class"),
        (["--loop.trackers", "theirs:quick"], "tracker 'theirs:quick': could not be called with (folder, config)"),
    ],
)
def test_what_is_wrong_is_named(package, capsys, arguments, message):
    quick = ["--data.source", "theirs:letters", "--steps", "2", "--batch.classes", "4", "--device", "cpu"]
    assert main(["train", "glyphs", *quick, *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_recipe_that_is_none(package, capsys):
    assert main(["train", "theirs:no_experiment"]) == 1
    assert "recipe 'theirs:no_experiment': gave dict, expected a circlet" in capsys.readouterr().err


@pytest.mark.slow
def test_a_tracker_that_fails_does_not_end_the_training(package, capsys):
    assert main(["train", "theirs:quick", "--data.source", "theirs:letters", "--loop.trackers", "theirs:Breaks",
                 "--run-dir", "run", "--device", "cpu"]) == 0  # fmt: skip
    assert "tracker Breaks failed and is not asked again: no network" in capsys.readouterr().err
    assert Path("run/result.json").is_file()


def test_objects_in_python(package):
    import theirs

    recipe = circlet.recipes.glyphs
    experiment = recipe(steps=2, loss=theirs.MyLoss(gamma=4.0), source=theirs.letters, backbone=theirs.Net,
                        transform=theirs.mirrored, trackers=[theirs.Lines], batch__classes=4)  # fmt: skip
    assert experiment.loss == LossConfig("theirs:MyLoss", "pair", (("gamma", 4.0),))
    assert (experiment.data.source, experiment.model.backbone) == ("theirs:letters", "theirs:Net")
    run = circlet.train(experiment, device="cpu", report=False)
    assert run.model.embedding_dim == 256
    assert run.path == Path("runs/glyphs-1")

    class Local(theirs.MyLoss):
        pass

    with pytest.raises(ValueError, match="found no module that defines it by name"):
        recipe(loss=Local())
    with pytest.raises(ValueError, match="found no module that defines it by name"):
        recipe(backbone=lambda channels: nn.Identity())
    with pytest.raises(ValueError, match=r"loss: found float, expected a circlet\.PairLoss"):
        recipe(loss=0.3)
    with pytest.raises(TypeError, match="stepz: found no such setting, expected one of root, images, steps"):
        recipe(stepz=3)
    with pytest.raises(TypeError, match="model__backbon: found no such setting, expected one of backbone"):
        recipe(model__backbon="small")
    assert recipe(loss__gamma=8).loss.numbers == {"margin": 0.4, "gamma": 8.0}
    assert recipe(loss="arcface").loss.level == "pair"
    assert recipe(loss=circlet.ArcFaceLoss()).augment.composed_classes == 0  # class weights
    assert torch.device("cpu") == run.device
