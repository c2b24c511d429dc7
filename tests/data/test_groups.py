import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circlet.data import DataError, FileReader, ImageSet, Splits, fold_classes, hold_out_classes, hold_out_images
from circlet.data.groups import joined_classes
from circlet.data.images import JoinedClassesError


def make(classes, groups=None, **more):
    names = [f"{i}.png" for i in range(len(classes))]
    return ImageSet.from_classes(classes, names, FileReader("nowhere", tuple(names)), groups=groups, **more)


@st.composite
def grouped(draw, most_classes=12):
    """Sets whose groups sometimes hold several classes."""
    num_classes = draw(st.integers(2, most_classes))
    labels = [*range(num_classes), *draw(st.lists(st.integers(0, num_classes - 1), max_size=30))]
    groups = draw(st.lists(st.integers(0, 40), min_size=len(labels), max_size=len(labels)))
    return make([f"c{label:02d}" for label in labels], groups)


def parts_by_hand(images):
    """The sets of classes that shared groups join, by merging until nothing changes."""
    parts = [{name} for name in images.class_names]
    for group in set(images.groups.tolist()):
        inside = {images.class_names[label] for label in images.labels[images.groups == group]}
        together = set().union(*(part for part in parts if part & inside))
        parts = [part for part in parts if not part & inside] + [together]
    return parts


def assert_whole(one, other):
    assert not set(one.groups.tolist()) & set(other.groups.tolist())


@given(grouped())
def test_parts(images):
    parts = joined_classes(images.labels, images.groups, images.num_classes)
    found = {frozenset(np.array(images.class_names)[parts == part].tolist()) for part in parts}
    assert found == set(map(frozenset, parts_by_hand(images)))


@given(grouped(), st.floats(0.05, 0.95), st.integers(0, 3))
def test_held_out_classes_cut_no_group(images, share, seed):
    parts = parts_by_hand(images)
    if len(parts) == 1:
        with pytest.raises(JoinedClassesError, match=r"groups: found .* classes that shared groups join to 1"):
            hold_out_classes(images, share, seed)
        return
    rest, out = hold_out_classes(images, share, seed)
    assert_whole(rest, out)
    assert not set(rest.class_names) & set(out.class_names)
    assert sorted(rest.names + out.names) == sorted(images.names)
    wanted = min(max(1, round(share * images.num_classes)), images.num_classes - 1)
    assert out.num_classes <= wanted or out.num_classes == min(map(len, parts))
    # Nothing that would still fit was left.
    spare = wanted - out.num_classes
    assert all(len(part) > spare for part in parts if not part & set(out.class_names)) or spare < 0
    assert hold_out_classes(images, share, seed)[1].names == out.names


@given(st.integers(2, 30), st.floats(0.05, 0.95), st.integers(0, 9))
def test_without_shared_groups_the_same_classes_as_ever(num_classes, share, seed):
    classes = [f"c{i % num_classes:02d}" for i in range(3 * num_classes)]
    number = min(max(1, round(share * num_classes)), num_classes - 1)
    order = np.random.default_rng(seed).permutation(num_classes)[:number]
    expected = tuple(sorted(f"c{label:02d}" for label in order))
    assert hold_out_classes(make(classes), share, seed)[1].class_names == expected
    each_its_own = make(classes, np.arange(len(classes)))
    assert hold_out_classes(each_its_own, share, seed)[1].class_names == expected


@given(grouped(), st.integers(2, 6), st.integers(0, 3))
def test_folds(images, folds, seed):
    parts = parts_by_hand(images)
    if folds > len(parts):
        with pytest.raises(DataError):
            fold_classes(images, folds, seed)
        return
    found = fold_classes(images, folds, seed)
    assert len(found) == folds
    for train, out in found:
        assert_whole(train, out)
        assert not set(train.class_names) & set(out.class_names)
        assert sorted(train.names + out.names) == sorted(images.names)
    sizes = [out.num_classes for _, out in found]
    assert sorted(name for _, out in found for name in out.class_names) == sorted(images.class_names)
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= max(map(len, parts))
    assert [out.names for _, out in fold_classes(images, folds, seed)] == [out.names for _, out in found]


@given(st.integers(2, 40), st.integers(2, 8), st.integers(0, 3))
def test_folds_without_groups_differ_by_one_class(num_classes, folds, seed):
    images = make([f"c{i % num_classes:02d}" for i in range(2 * num_classes)])
    if folds > num_classes:
        with pytest.raises(DataError, match=f"folds: found {folds} for {num_classes} classes"):
            fold_classes(images, folds, seed)
        return
    sizes = [out.num_classes for _, out in fold_classes(images, folds, seed)]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == num_classes


def test_folds_depend_on_the_seed_and_errors():
    images = make([f"c{i:02d}" for i in range(20)])
    first = [[out.class_names for _, out in fold_classes(images, 4, seed)] for seed in (0, 1)]
    assert first[0] != first[1]
    with pytest.raises(ValueError, match="folds: found 1, expected at least 2"):
        fold_classes(images, 1)
    with pytest.raises(
        JoinedClassesError, match=r"join to 2 \(as 'a' and 'b' by 0.png and 2.png\), expected at least 3"
    ):
        fold_classes(make("aabc", [0, 1, 0, 2]), 3)


@given(grouped(), st.floats(0.1, 0.9), st.integers(0, 3))
def test_held_out_images_cut_no_group(images, share, seed):
    try:
        rest, out = hold_out_images(images, share, seed)
    except DataError:
        return
    assert_whole(rest, out)
    assert rest.class_names == images.class_names
    assert len(out) > 0
    assert sorted(rest.names + out.names) == sorted(images.names)
    assert Splits(rest, out, closed_set=True).query is out


@given(st.integers(2, 8), st.integers(2, 20), st.floats(0.1, 0.9))
def test_held_out_images_come_near_the_share(num_classes, each, share):
    images = make([f"c{i % num_classes}" for i in range(num_classes * each)])
    try:
        _, out = hold_out_images(images, share)
    except DataError:
        assert share * each < 0.5
        return
    for name in images.class_names:
        held = sum(out.class_names[label] == name for label in out.labels)
        assert abs(held - min(share * each, each - 1)) <= 0.5 + 1e-9


def test_held_out_images_errors():
    with pytest.raises(DataError, match="2 classes of a single group each"):
        hold_out_images(make("aabb", [0, 0, 1, 1]))
    with pytest.raises(DataError, match="2 classes of a single image each"):
        hold_out_images(make("ab"))
    with pytest.raises(ValueError, match="held_out: found 1"):
        hold_out_images(make("aabb"), 1)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.data())
def test_subset_keeps_groups_times_and_categories(labels, data):
    classes = [f"c{label}" for label in labels]
    places = np.arange(len(classes))
    images = make(classes, places * 2, times=places * 1.5, categories=[label % 2 for label in labels])
    indices = data.draw(st.lists(st.integers(0, len(classes) - 1), max_size=30))
    twice = images.subset(indices).subset(range(len(indices)))
    assert twice.groups.tolist() == [2 * i for i in indices]
    assert twice.times.tolist() == [1.5 * i for i in indices]
    assert twice.categories.tolist() == [labels[i] % 2 for i in indices]
    assert twice.cameras is None
    assert (twice.groups.dtype, twice.times.dtype, twice.categories.dtype) == (np.int64, np.float64, np.int64)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("groups", [0.5, 1.0], r"groups: found float64 \(2,\), expected integers \(2,\)"),
        ("groups", [1], r"groups: found int64 \(1,\)"),
        ("times", ["2024", "2025"], r"times: found <U4 \(2,\), expected numbers"),
        ("times", [0.0, np.nan], "times: found nan, expected finite"),
        ("categories", [True, False], "categories: found bool"),
        ("categories", [1, 2], "categories: found two for images of the class 'a'"),
    ],
)
def test_bad_fields(field, value, message):
    with pytest.raises(DataError, match=message):
        make("aa", **{field: value})
