"""Data sets from outside the library: what they may give, and what is said of what they must not."""

import re
from pathlib import Path

import numpy as np
import pytest

from circlet.data import DATA_SETS, DataError, DataSet, FacePairs, FileReader, ImageSet, Splits, open_data_set
from circlet.data.catalogue import find_data_set
from circlet.data.check import check_data_set
from circlet.data.data_set import as_data_set
from circlet.experiments import DataConfig, build_splits


def images(*classes):
    return ImageSet.from_classes(classes, [f"{i}.png" for i in range(len(classes))], FileReader("", ()))


def insects(root, *, seed=0, legs=6):
    """Insects to train on, spiders to test on."""
    return Splits(images("ant", f"bee-{seed}"), images("spider", f"legs-{legs}", str(root)))


def test_a_function_is_a_data_set():
    splits = open_data_set(insects, "here", legs=8)
    assert splits.query.class_names == ("here", "legs-8", "spider")
    assert open_data_set(insects).query.class_names == ("None", "legs-6", "spider")
    entry = find_data_set(insects)
    assert entry.name == f"{__name__}:insects"
    assert entry.title == "Insects to train on, spiders to test on."
    assert [entry.accepts(option) for option in ("seed", "legs", "held_out")] == [True, True, False]
    assert check_data_set(DataSet("insects", insects, needs_path=False), None, sample=0) == []


def test_an_entry_of_ones_own_needs_its_path():
    mine = DataSet("insects", insects, title="six legs", options={"legs": 4})
    assert open_data_set(mine, Path("here")).query.class_names == ("here", "legs-4", "spider")
    assert open_data_set(mine, "here", legs=7).query.class_names[1] == "legs-7"
    with pytest.raises(ValueError, match="path: found none, expected that of six legs"):
        open_data_set(mine)


def test_ours_are_as_they_are():
    assert find_data_set(DATA_SETS["cub200"]) is DATA_SETS["cub200"]
    assert find_data_set("folder").needs_path
    assert all(name == entry.name for name, entry in DATA_SETS.items())


@pytest.mark.parametrize(
    ("source", "expected"),
    [("glyphs", ["seed"]), ("vehicleid-800", ["seed"]), ("ms1mv2", ["held_out", "seed"]), ("cub200", []),
     ("folder", ["held_out", "seed"]), ("manifest", ["held_out", "seed"]), ("omniglot", []), ("msmt17", [])],
)  # fmt: skip
def test_an_experiment_gives_its_seed_and_share_to_those_that_have_them(source, expected):
    assert [option for option in ("held_out", "seed") if find_data_set(source).accepts(option)] == expected


def test_an_unknown_source_of_an_experiment_is_told_its_neighbours():
    with pytest.raises(ValueError, match="data set: found 'foldr', expected one of folder"):
        build_splits(DataConfig(source="foldr"))


def pairs(root):
    return FacePairs(images("a", "b"), np.array([[0, 1], [0, 0]] * 2), np.array([False, True] * 2), num_folds=2)


def short_labels(root):
    return Splits(ImageSet(np.array([0, 1]), ("a", "b"), ("1", "2", "3"), FileReader("", ())), images("c"))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda root: None, "found NoneType, expected circlet.data.Splits"),
        (lambda root: (images("a"), images("b")), "found a tuple of ImageSet, ImageSet, expected circlet.data.Splits"),
        (lambda root: {"train": 1}, "found a dict with 'train', expected circlet.data.Splits"),
        (lambda root: Splits(images("a"), None), "query: found NoneType, expected an ImageSet"),
        (lambda root: Splits(["a.png"], images("b")), "train: found list, expected an ImageSet"),
        (lambda root: Splits(images("a"), images("a")), "query: found 1 of its 1 classes in train too"),
        (short_labels, "labels: found int64 (2,), expected integers (3,)"),
        (pairs, "which has no part to train on, expected one that has"),
    ],
)
def test_what_is_no_data_set_is_named(function, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        open_data_set(function, "root")
    assert str(caught.value).startswith("data set")
    assert function.__qualname__ in str(caught.value)


@pytest.mark.parametrize("given", [3, None, b"glyphs", ["glyphs"]])
def test_what_cannot_be_opened_is_refused(given):
    with pytest.raises(
        ValueError, match=f"data set 'builtins:.*': found .*{type(given).__name__}.*, expected a DataSet, or a func"
    ):
        open_data_set(given)


def test_errors_of_its_files_bear_its_name():
    def broken(root):
        raise DataError(f"{root}: found no list")

    with pytest.raises(DataError, match=r"^data set 'mine': here: found no list$"):
        as_data_set("data set 'mine'", broken).open("here")
