"""Errors of the command line name its flags; numbers that no setting may have are refused before a folder is made."""

import re
from dataclasses import fields, is_dataclass, replace

import pytest
from PIL import Image

from circlet.cli import main
from circlet.cli.errors import FLAGS, told
from circlet.experiments import DataConfig, Experiment, ModelConfig
from circlet.experiments.numbers import check_numbers
from circlet.recipes import RECIPES
from circlet.training import OptimizerConfig


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def settings(part, name=""):
    """Dotted names of all settings."""
    for each in fields(part):
        value = getattr(part, each.name)
        path = f"{name}.{each.name}" if name else each.name
        yield from settings(value, path) if is_dataclass(value) else [path]


def with_setting(part, path, value):
    first, _, rest = path.partition(".")
    return replace(part, **{first: with_setting(getattr(part, first), rest, value) if rest else value})


def numbers():
    """Settings whose value is a number, by recipe: those that a photograph's and a character's have."""
    for recipe in ("glyphs", "folder"):
        experiment = RECIPES[recipe]()
        for path in settings(experiment):
            value = experiment
            for name in path.split("."):
                value = getattr(value, name)
            if isinstance(value, float):
                yield recipe, path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_no_setting_of_a_run_is_nan_infinite_or_beyond_fp32(value):
    for recipe, path in numbers():
        message = f"{path.rpartition('.')[2]}: found {value}"
        with pytest.raises(ValueError, match=re.escape(message)):
            with_setting(RECIPES[recipe](), path, value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--loss.gamma", "nan"], "gamma: found nan, expected a finite number"),
        (["--loss.gamma", "inf"], "gamma: found inf, expected a finite number"),
        (["--loss.gamma", "-1"], "gamma: found -1.0, expected a finite number > 0"),
        (["--loss.gamma", "1e300"], "gamma: found 1e+300, expected at most 3.4e+38"),
    ],
)
def test_a_bad_gamma_leaves_no_folder_behind(flags, message, tmp_path, capsys):
    assert main(["train", *flags]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (DataConfig, "test_share", 0.0),
        (DataConfig, "test_share", 1.5),
        (DataConfig, "validation_share", -0.1),
        (DataConfig, "time_split", 1.0),
        (DataConfig, "seed", -1),
        (DataConfig, "workers", -1),
        (DataConfig, "size", (0, 5)),
        (ModelConfig, "size", (5, 0)),
        (ModelConfig, "crop_share", 0.0),
        (ModelConfig, "embedding_dim", 0),
        (ModelConfig, "dropout", 1.0),
        (ModelConfig, "std", (0.0,)),
    ],
)
def test_settings_out_of_their_range_are_named(part, name, value):
    with pytest.raises(ValueError, match=rf"(data|model)\.{name}: found "):
        part(**{name: value})


@pytest.mark.parametrize("name", ["weight_decay", "backbone_lr_scale", "class_lr_scale", "clip_norm", "learning_rate"])
def test_an_optimiser_of_negative_numbers_is_refused_at_once(name):
    with pytest.raises(ValueError, match=f"{name}: found -1"):
        OptimizerConfig(**{name: -1.0})


def test_a_whole_number_beyond_64_bits_is_named():
    with pytest.raises(ValueError, match=r"loop\.seed: found 1000000000000000000000, expected at most"):
        with_setting(Experiment(), "loop.seed", 10**21)


def test_every_recipe_has_good_numbers():
    for recipe in RECIPES.values():
        check_numbers(recipe())


def test_flags_that_are_named_are_there(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "manifest", "--help"])
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = capsys.readouterr().out
    flags = {word for flag in FLAGS.values() for word in flag.split() if word.startswith("--")} | {"--data.closed-set"}
    assert {flag for flag in flags if flag not in text} == set()


def test_messages_of_functions_name_the_flag():
    told_of = told(ValueError("num_classes_per_batch: found 99, expected at most 5"))
    assert told_of == "num_classes_per_batch (--batch.classes): found 99, expected at most 5"
    assert told(MemoryError()).startswith("memory: found none left")


def test_classes_in_train_and_test_name_the_flag_that_allows_them(tmp_path, capsys):
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(2):
                colour = hash((part, name, i)) % 256
                Image.new("L", (8, 8), colour).save(tmp_path / "photos" / part / name / f"{part}{i}.png")
    assert main(["train", "scratch", "--root", "photos"]) == 1
    err = capsys.readouterr().err
    assert "--data.closed-set allows seen ones" in err
    assert "closed_set" not in err


def test_too_few_classes_name_the_flag(tmp_path, capsys):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "photos" / "a" / "1.png")
    assert main(["train", "scratch", "--root", "photos"]) == 1
    assert "held_out (--data.test-share or --data.validation-share): found 0.5 for 1 classes" in capsys.readouterr().err
