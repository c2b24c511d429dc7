import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.data import DataError, FileReader, ImageSet, Splits, hold_out_classes, split_classes

READ = FileReader("nowhere", ())


def make(classes, cameras=None):
    return ImageSet.from_classes(classes, [f"{i}.png" for i in range(len(classes))], READ, cameras)


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30), st.data())
def test_subset_keeps_names_classes_and_cameras(classes, data):
    images = make(classes, np.arange(len(classes)) * 3)
    indices = data.draw(st.lists(st.integers(0, len(classes) - 1), max_size=40))
    chosen = images.subset(indices)
    assert [chosen.class_names[label] for label in chosen.labels] == [classes[i] for i in indices]
    assert list(chosen.names) == [f"{i}.png" for i in indices]
    assert chosen.cameras.tolist() == [3 * i for i in indices]
    assert set(chosen.labels.tolist()) == set(range(chosen.num_classes))


def test_subset_of_subset_reads_the_right_image_after_pickling():
    images = ImageSet.from_classes(list("abcd"), list("wxyz"), "wxyz".__getitem__)
    twice = images.subset([3, 1, 0]).subset([2, 0])
    assert [twice.read(i) for i in range(2)] == ["w", "z"]
    images = ImageSet.from_classes("ab", ["0.png", "1.png"], FileReader("root", ("0.png", "1.png")))
    files = pickle.loads(pickle.dumps(images.subset([1])))
    assert files.names == ("1.png",)
    assert files.read.paths == ("1.png",)


@pytest.mark.parametrize("indices", [[-1], [3], [0.5], [True, False, True], [[0]]])
def test_bad_indices(indices):
    with pytest.raises(ValueError, match="indices: found"):
        make("abc").subset(indices)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 2], ("a", "b", "c"), "labels: found 2 values from 0 to 2"),
        ([1, 2], ("a", "b"), "labels: found"),
        ([0], ("a",), r"labels: found .* expected integers \(2,\)"),
        ([0.0, 1.0], ("a", "b"), "labels: found float64"),
        ([0, 1], ("a", "a"), "class_names: found only 1"),
        ([0, 0], ("a", "b"), "labels: found"),
    ],
)
def test_bad_labels(labels, classes, message):
    with pytest.raises(DataError, match=message):
        ImageSet(np.array(labels), classes, ("x", "y"), READ)


def test_bad_cameras():
    with pytest.raises(DataError, match="cameras: found"):
        make("ab", [1])


def test_empty_set_is_allowed_but_no_role():
    empty = make("ab").subset([])
    assert (len(empty), empty.num_classes) == (0, 0)
    with pytest.raises(DataError, match="query: found no image"):
        Splits(make("ab"), empty)
    with pytest.raises(DataError, match="gallery: found no image"):
        Splits(make("ab"), make("c"), empty)


def test_class_overlap_is_listed_and_can_be_allowed():
    with pytest.raises(DataError, match=r"query: found 1 of its 2 classes in train too \('b'; 0.png has .* of 1.png\)"):
        Splits(make("ab"), make("bc"))
    with pytest.raises(
        DataError, match=r"gallery: found 1 of its 3 classes in train too \('b'; 1.png has .* of 2.png\)"
    ):
        Splits(make("aab"), make("c"), make("cbd"))
    assert Splits(make("ab"), make("c"), make("cb"), closed_set=True).gallery.num_classes == 2
    assert Splits(make("ab"), make("bc"), closed_set=True).query.num_classes == 2
    many = [f"c{i}" for i in range(15)]
    with pytest.raises(DataError, match="and 5 more"):
        Splits(make(many), make(many))


def test_matching_labels_agree_with_class_names():
    splits = Splits(make("z"), make("bdb"), make("adbce"))
    query, gallery = splits.matching_labels()
    same = [[q == g for g in "adbce"] for q in "bdb"]
    assert (query[:, None] == gallery[None, :]).tolist() == same
    assert len(set(gallery.tolist())) == 5
    alone = Splits(make("z"), make("ba"))
    assert [part.tolist() for part in alone.matching_labels()] == [[1, 0], [1, 0]]


@given(st.integers(2, 30), st.floats(0.01, 0.99), st.integers(0, 5))
def test_hold_out_partitions_by_class(num_classes, fraction, seed):
    images = make([f"c{i % num_classes:02d}" for i in range(3 * num_classes)])
    rest, out = hold_out_classes(images, fraction, seed)
    assert not set(rest.class_names) & set(out.class_names)
    assert sorted(rest.names + out.names) == sorted(images.names)
    assert out.num_classes == min(max(1, round(fraction * num_classes)), num_classes - 1)
    assert hold_out_classes(images, fraction, seed)[1].names == out.names


def test_hold_out_a_number_of_classes_and_seed():
    images = make([f"c{i:02d}" for i in range(40)])
    assert split_classes(images, 7).query.num_classes == 7
    assert split_classes(images, 7, 0).query.class_names != split_classes(images, 7, 1).query.class_names


@pytest.mark.parametrize("held_out", [0, -1, 1.5, float("nan"), float("inf")])
def test_bad_held_out(held_out):
    with pytest.raises(ValueError, match="held_out: found"):
        hold_out_classes(make("abc"), held_out)


def test_too_few_classes_to_hold_out():
    for held_out in (0.5, 1):
        with pytest.raises(DataError, match="for 1 classes"):
            hold_out_classes(make("aa"), held_out)
    with pytest.raises(DataError, match="for 3 classes"):
        hold_out_classes(make("abc"), 3)
