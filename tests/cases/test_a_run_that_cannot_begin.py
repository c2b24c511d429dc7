"""A run that cannot begin takes its own folder away, and nobody else's."""

import json
import threading
from contextlib import contextmanager

import pytest
import torch

import circlet
from circlet.compare import one_run
from circlet.data import DataError
from circlet.experiments import build_splits, run
from circlet.experiments.run import nothing_left
from circlet.locks import locked
from circlet.recipes import RECIPES
from circlet.training import RunFolder


def fails(*arguments, **settings):
    raise DataError("ant.png: found no image, expected one")


@pytest.fixture
def unreadable(monkeypatch):
    """Images that cannot be loaded."""
    monkeypatch.setattr(run, "load_run_data", fails)


def begun(path, *names):
    """A folder as `train` makes it, with other files besides."""
    folder = RunFolder.create(path, RECIPES["glyphs"](data__workers=0).to_json())
    for name in names:
        (path / name).write_bytes(b"x")
    return folder


def names(path):
    return {each.name for each in path.iterdir()}


@contextmanager
def locked_in_a_thread(path):
    took, ended = threading.Event(), threading.Event()

    def hold():
        with locked(path):
            took.set()
            ended.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    took.wait(60)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_the_folder_of_a_run_that_could_not_begin_goes(unreadable, tmp_path):
    with pytest.raises(DataError):
        circlet.train(RECIPES["glyphs"](), run_dir=tmp_path / "run", device="cpu", report=False)
    assert names(tmp_path) == set()


def test_a_run_killed_while_it_loaded_and_then_resumed_keeps_its_settings(unreadable, tmp_path):
    folder = begun(tmp_path / "run")
    with pytest.raises(DataError):
        circlet.resume(folder.path, steps=5, device="cpu", report=False)
    assert names(folder.path) == {"config.json", "environment.json"}
    assert folder.read_json("config.json") == RECIPES["glyphs"](data__workers=0).to_json()


@pytest.mark.parametrize("name", ["last.pt", "data.json", "splits.json"])
def test_a_run_that_has_begun_stays(name, tmp_path):
    folder = begun(tmp_path / "run", name)
    with pytest.raises(DataError), nothing_left(folder):
        fails()
    assert names(folder.path) == {"config.json", "environment.json", name}


def test_a_run_that_another_has_taken_up_stays(tmp_path):
    folder = begun(tmp_path / "run")
    with pytest.raises(DataError), locked_in_a_thread(folder.path), nothing_left(folder):
        fails()
    assert names(folder.path) == {"config.json", "environment.json"}


def test_a_run_that_cannot_be_locked_stays(tmp_path, monkeypatch):
    folder = begun(tmp_path / "run")

    def refused(*arguments, **settings):
        raise OSError(f"{folder.path}: could not be locked to be written to")

    monkeypatch.setattr(run, "locked", refused)
    with pytest.raises(OSError, match="could not be locked"), nothing_left(folder):
        refused()
    assert names(folder.path) == {"config.json", "environment.json"}


def test_a_comparison_goes_on_after_an_image_could_not_be_read(tmp_path, monkeypatch):
    experiment = RECIPES["glyphs"]()
    path = tmp_path / "out" / "runs" / "circle-seed-0"
    monkeypatch.setattr(run, "load_run_data", fails)
    with one_run.made(path, experiment, 0) as folder, pytest.raises(DataError):
        one_run._run(experiment, build_splits(experiment.data), folder, torch.device("cpu"), 0, 1, 1)
    assert names(path) == {"config.json", "environment.json", "cost.json"}
    with one_run.made(path, experiment, 0) as folder:
        assert json.loads((folder.path / "config.json").read_text()) == experiment.to_json()
