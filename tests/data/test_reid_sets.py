"""Market-1501, DukeMTMC-reID, MSMT17 and VehicleID: ids, cameras, junk, distractors and the lot of VehicleID."""

import re

import numpy as np
import pytest

from circlet.data import DataError, dukemtmc, market1501, msmt17, vehicleid
from circlet.data.check import count
from tests.data import miniature

MARKET = "Market-1501-v15.09.15"


def test_market_ids_and_cameras(tmp_path):
    expected = miniature.write_market(tmp_path)
    splits = market1501(tmp_path)
    assert {what: count(splits)[what] for what in expected} == expected
    assert splits.train.class_names == ("0001", "0003", "0005")
    assert splits.gallery.class_names == ("-1", "0000", "0002", "0004", "0006")
    for images in (splits.train, splits.query, splits.gallery):
        parts = [re.fullmatch(r"\w+/(-1|\d{4})_c(\d)s1_\d{6}_01.jpg", name) for name in images.names]
        assert images.ids().tolist() == [int(part[1]) for part in parts]
        assert images.cameras.tolist() == [int(part[2]) for part in parts]
    query, gallery = splits.matching_labels()
    same = splits.query.ids()[:, None] == splits.gallery.ids()
    assert np.array_equal(query[:, None] == gallery, same)
    assert same.sum(1).tolist() == [3] * 9  # neither junk nor distractor matches
    assert market1501(tmp_path / MARKET).gallery.names == splits.gallery.names


def test_duke_and_subsets_keep_ids(tmp_path):
    expected = miniature.write_market(tmp_path, duke=True)
    splits = dukemtmc(tmp_path)
    assert {what: count(splits)[what] for what in expected} == expected
    assert set(splits.gallery.ids()) == {2, 4, 6, 8, 10}  # 8 and 10 are in no query
    assert set(splits.query.ids()) == {2, 4, 6}
    assert set(splits.gallery.subset([3, 4]).ids()) <= {2, 4, 6}


def test_ids_of_other_class_names():
    from circlet.data import FileReader, ImageSet

    with pytest.raises(DataError, match="class_names: found 'cat', expected whole numbers"):
        ImageSet.from_classes(["1", "cat"], ["a", "b"], FileReader("", ())).ids()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bounding_box_train/0001_c1s1_000010_01.jpg", "bounding_box_train/-1_c1s1_000010_01.jpg", "no id from 1 on"),
        ("query/0002_c1s1_000010_01.jpg", "query/0000_c1s1_000010_01.jpg", "no id from 1 on"),
        ("query/0002_c1s1_000010_01.jpg", "query/copy.jpg", "copy.jpg: found no id"),
        (
            "query/0002_c1s1_000010_01.jpg",
            "query/0001_c1s1_000010_01.jpg",
            r"v15.09.15: query: .* in train too \('0001'; query/0001_c1s1_000010_01.jpg has the class of bound",
        ),
        (
            "bounding_box_test/0000_c1s1_000200_01.jpg",
            "bounding_box_test/0003_c1s1_000200_01.jpg",
            r"v15.09.15: gallery: found 1 of its 6 classes in train too \('0003'; bounding_box_test/0003_c1s1_0002",
        ),
        ("query", "queries", "query: found no such folder"),
        ("bounding_box_test", "gallery", "bounding_box_test: found no such folder"),
    ],
)
def test_bad_market(old, new, message, tmp_path):
    miniature.write_market(tmp_path)
    (tmp_path / MARKET / old).rename(tmp_path / MARKET / new)
    with pytest.raises(DataError, match=message):
        market1501(tmp_path)


def test_empty_folder_of_market(tmp_path):
    miniature.write_market(tmp_path)
    for path in (tmp_path / MARKET / "query").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"v15.09.15: query: found no image"):
        market1501(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_msmt17(version, tmp_path):
    expected = miniature.write_msmt17(tmp_path, version=version)
    splits = msmt17(tmp_path)
    assert {what: count(splits)[what] for what in expected} == expected
    assert splits.train.class_names == ("train/0000", "train/0001", "train/0002")
    assert splits.query.ids().tolist() == [0, 1, 2]
    assert set(splits.train.cameras) == {1, 9, 12}
    assert set(splits.gallery.cameras) == {9, 12}
    assert splits.gallery.ids().tolist() == [0, 0, 1, 1, 2, 2]
    only = msmt17(tmp_path / f"MSMT17_V{version}", train_lists=("train",))
    assert len(only.train) == 6
    assert only.gallery.names == splits.gallery.names
    with splits.gallery.read(0) as image:
        assert image.size == (16, 32)


def test_bad_msmt17(tmp_path):
    miniature.write_msmt17(tmp_path)
    root = tmp_path / "MSMT17_V1"
    with pytest.raises(ValueError, match="train_lists: found"):
        msmt17(root, train_lists=("train", "query"))
    good = (root / "list_query.txt").read_text()
    for bad, message in (
        ("0000/0000.jpg 0\n", "list_query.txt, line 1: found '0000/0000.jpg', expected ID/"),
        (good.replace(" 1\n", " one\n"), "list_query.txt, line 2: found 'one'"),
        (good.replace("0001/", "0007/"), r"list_query.txt, line 2: found an image missing, 1 of the 3 listed in all"),
    ):
        (root / "list_query.txt").write_text(bad)
        with pytest.raises(DataError, match=message):
            msmt17(root)
    (root / "train").rename(root / "other")
    with pytest.raises(DataError, match="found none of the folders train, mask_train_v2"):
        msmt17(root)


def test_vehicleid_draws_the_gallery(tmp_path):
    expected = miniature.write_vehicleid(tmp_path)
    splits = vehicleid(tmp_path)
    assert {what: count(splits)[what] for what in expected} == expected
    assert splits.gallery.ids().tolist() == [4, 5, 6]
    assert not set(splits.query.names) & set(splits.gallery.names)
    assert len({*splits.query.names, *splits.gallery.names}) == 12
    assert vehicleid(tmp_path).gallery.names == splits.gallery.names
    draws = [vehicleid(tmp_path, repeat=repeat).gallery.names for repeat in range(10)]
    assert len(set(draws)) > 5
    assert vehicleid(tmp_path, seed=1).gallery.names not in draws[:1]
    drawn = {name for draw in draws for name in draw}
    assert len(drawn) > 8


def test_bad_vehicleid(tmp_path):
    miniature.write_vehicleid(tmp_path)
    with pytest.raises(ValueError, match="size: found 801"):
        vehicleid(tmp_path, size=801)
    with pytest.raises(ValueError, match="repeat: found 10"):
        vehicleid(tmp_path, repeat=10)
    with pytest.raises(DataError, match=r"test_list_2400.txt: found no such list"):
        vehicleid(tmp_path, size=2400)
    train = tmp_path / "train_test_split" / "train_list.txt"
    train.write_text(train.read_text() + "0000400 4\n")
    message = r"test_list_800.txt, line [1-4]: query: found 1 of its 3 classes in train too \('4'; image/000040"
    with pytest.raises(DataError, match=message):
        vehicleid(tmp_path)
    next((tmp_path / "image").glob("0000103.jpg")).unlink()
    with pytest.raises(DataError, match=r"train_list.txt, line 4: found an image missing.* \(image/0000103.jpg\)"):
        vehicleid(tmp_path)
