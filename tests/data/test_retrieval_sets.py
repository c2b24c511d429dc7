"""CUB-200-2011, Cars196, SOP and In-Shop: the right images in the right roles, and errors that say where."""

import re
from pathlib import Path

import numpy as np
import pytest

from circlet.data import DataError, cars196, cub200, decode, inshop, open_data_set, sop
from circlet.data.check import count
from circlet.data.listing import require_files
from tests.data import miniature

WRITERS = {
    "cub200": (cub200, miniature.write_cub200, "CUB_200_2011"),
    "cars196": (cars196, miniature.write_cars196, "."),
    "sop": (sop, miniature.write_sop, "Stanford_Online_Products"),
    "inshop": (inshop, miniature.write_inshop, "."),
}
# The annotations of Cars196 are read in a process of its own.
NAMES = [pytest.param(name, marks=pytest.mark.subprocess) if name == "cars196" else name for name in WRITERS]


def edit(path, old, new, times=1):
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, times))


def colours_by_class(images):
    """Mean colour of each image of each class."""
    colours = {}
    for index, label in enumerate(images.labels):
        colours.setdefault(images.class_names[label], []).append(decode(images, index, size=(8, 8)).mean((1, 2)))
    return {name: np.array(values) for name, values in colours.items()}


@pytest.mark.parametrize("name", NAMES)
def test_roles_classes_and_pixels(name, tmp_path):
    load, write, nested = WRITERS[name]
    expected = write(tmp_path)
    splits = load(tmp_path)
    assert {what: count(splits)[what] for what in expected} == expected
    assert load(str(tmp_path / nested)).train.names == splits.train.names  # the folder itself, or what holds it
    assert open_data_set(name, tmp_path).query.names == splits.query.names
    means = {}
    for images in (splits.train, splits.query, splits.gallery):
        for c, colours in colours_by_class(images).items() if images is not None else ():
            coloured = colours[np.ptp(colours, axis=1) > 20]  # grey images have lost theirs
            assert np.ptp(coloured, axis=0).max() < 10
            means.setdefault(c, coloured.mean(0))
    distances = [np.abs(a - b).max() for c, a in means.items() for d, b in means.items() if c < d]
    assert min(distances) > 20


def test_cub_decides_by_class_number_and_greys_become_colour(tmp_path):
    miniature.write_cub200(tmp_path, classes=2)
    splits = cub200(tmp_path)
    assert splits.train.class_names == ("001.Bird_1", "002.Bird_2")
    assert splits.query.class_names == ("101.Bird_101", "102.Bird_102")
    assert splits.train.names[0] == "001.Bird_1/Bird_1_0000.jpg"
    with splits.train.read(0) as image:
        assert image.mode == "L"
    assert decode(splits.train, 0, size=(8, 8)).shape == (3, 8, 8)


@pytest.mark.subprocess
def test_cars_in_both_forms(tmp_path):
    for form in ("annos", "devkit"):
        expected = miniature.write_cars196(tmp_path / form, form=form)
        splits = cars196(tmp_path / form)
        assert {what: count(splits)[what] for what in expected} == expected
        assert splits.train.class_names == ("001", "002", "003")
        assert splits.query.class_names == ("099", "100", "101")
    assert {name.split("/")[0] for name in splits.query.names} == {"cars_train", "cars_test"}
    test_list = tmp_path / "devkit" / "cars_test_annos_withlabels.mat"
    test_list.rename(tmp_path / "devkit" / "devkit" / test_list.name)
    assert cars196(tmp_path / "devkit").query.names == splits.query.names


def test_inshop_lists_in_the_root(tmp_path):
    miniature.write_inshop(tmp_path)
    expected = inshop(tmp_path).gallery.names
    (tmp_path / "Eval" / "list_eval_partition.txt").rename(tmp_path / "list_eval_partition.txt")
    (tmp_path / "Img" / "img").rename(tmp_path / "img")
    assert inshop(tmp_path).gallery.names == expected


@pytest.mark.parametrize("name", NAMES)
def test_half_extracted(name, tmp_path):
    load, write, _ = WRITERS[name]
    write(tmp_path)
    names = load(tmp_path).query.names[-5:]
    for image in names:
        next(tmp_path.rglob(image)).unlink()
    with pytest.raises(DataError, match=r"missing, 5 of the .* in all \(.*and 2 more\).*half extracted") as error:
        load(tmp_path)
    assert names[0] in str(error.value)
    if name != "cars196":  # a Matlab file has no lines
        path, number = re.match(r"(.*), line (\d+): found an image missing", str(error.value)).groups()
        assert names[0] in Path(path).read_text().splitlines()[int(number) - 1]


@pytest.mark.parametrize("name", NAMES)
def test_no_such_folder_and_no_list(name, tmp_path):
    load = WRITERS[name][0]
    with pytest.raises(DataError, match="none: found nothing, expected a folder"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="half extracted") as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)


CUB, SOP = "CUB_200_2011", "Stanford_Online_Products"


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        ("cub200", f"{CUB}/images.txt", "3 001", "3, x 001", r"images.txt, line 3: found 3 columns .* expected 2"),
        ("cub200", f"{CUB}/images.txt", "\n3 001", "\n\n3 001", r"images.txt, line 3: found 0 columns"),
        ("cub200", f"{CUB}/images.txt", "3 001", "99 001", r"images.txt, line 3: found image 99, without a class"),
        ("cub200", f"{CUB}/images.txt", "001.Bird_1/", "../../", r"images.txt, line 1: found the image '../../Bi"),
        (
            "cub200",
            f"{CUB}/image_class_labels.txt",
            "3 1",
            "3 one",
            r"labels.txt, line 3: found 'one'",
        ),
        ("cub200", f"{CUB}/image_class_labels.txt", "1 1\n", "1 101\n", r"images.txt, line 1: query: .* in train"),
        (
            "sop",
            f"{SOP}/Ebay_train.txt",
            "image_id class_id",
            "x",
            r"train.txt, line 1: found .* expected the head",
        ),
        ("sop", f"{SOP}/Ebay_test.txt", "13 4 1", "13 1 1", r"test.txt, line 2: query: found 1 of .* \('1'; b"),
        ("inshop", "Eval/list_eval_partition.txt", "train", "val", r"line 3: found 'val', expected train, query"),
        ("inshop", "Eval/list_eval_partition.txt", "24\n", "25\n", r"line 1: found 24 images below, expected 25"),
        (
            "inshop",
            "Eval/list_eval_partition.txt",
            "id_00000004      query",
            "id_00000001 query",
            r"line 15: query: .* in train",
        ),
        (
            "inshop",
            "Eval/list_eval_partition.txt",
            "id_00000004    gallery",
            "id_00000001 gallery",
            r"line 16: gallery: found 1 of its 4 classes in train too",
        ),
    ],
)
def test_bad_lists(name, file, old, new, message, tmp_path):
    load, write, _ = WRITERS[name]
    write(tmp_path)
    edit(tmp_path / file, old, new)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_missing_second_list_and_no_text(tmp_path):
    miniature.write_sop(tmp_path)
    path = tmp_path / SOP / "Ebay_test.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"Ebay_test.txt, line 1: found no text in UTF-8"):
        sop(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"Ebay_test.txt: found no such list"):
        sop(tmp_path)


@pytest.mark.subprocess
def test_bad_annotations_of_cars(tmp_path):
    from scipy.io import savemat

    miniature.write_cars196(tmp_path, form="devkit")
    test_list = tmp_path / "cars_test_annos_withlabels.mat"
    test_list.write_bytes(test_list.read_bytes()[:300])
    with pytest.raises(DataError, match=r"withlabels.mat: found no readable annotations"):
        cars196(tmp_path)
    annotations = np.array([("00001.jpg", 1)], dtype=[("fname", object), ("bbox_x1", object)])
    savemat(test_list, {"annotations": annotations})
    with pytest.raises(
        DataError,
        match=r"withlabels.mat: found .*the fields fname, bbox_x1, without 'class'",
    ):
        cars196(tmp_path)
    savemat(test_list, {"annotations": np.array([("00001.jpg", 197)], dtype=[("fname", object), ("class", object)])})
    with pytest.raises(DataError, match=r"found class 197 of cars_test/00001.jpg"):
        cars196(tmp_path)
    test_list.unlink()
    with pytest.raises(DataError, match=r"withlabels.mat: found no such list"):
        cars196(tmp_path)


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "/secret.jpg", "/a/b.jpg"])
def test_a_list_cannot_lead_out_of_its_folder(tmp_path, name):
    (tmp_path / "a").mkdir()
    for present in ("secret.jpg", "a/b.jpg"):
        (tmp_path / present).touch()
    with pytest.raises(DataError, match=rf"list.txt: found the image '{name}', expected paths below"):
        require_files(tmp_path, ["secret.jpg", "a/b.jpg", name], tmp_path / "list.txt")


def test_a_zero_byte_in_a_list(tmp_path):
    with pytest.raises(DataError, match=r"list.txt: found an image missing, 1 of the 1 listed in all"):
        require_files(tmp_path, ["a\0/b.jpg"], "list.txt")
    with pytest.raises(DataError, match=r"list.txt, line 7: found an image missing"):
        require_files(tmp_path, ["a\0/b.jpg"], "list.txt", [7])
