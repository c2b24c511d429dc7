"""One picture in several places of a data set: named with its lines, taken once, or left out of its own search."""

import os
import unicodedata
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from circlet.data import DataError, FileReader, ImageSet, Splits, manifest, open_data_set
from circlet.data.catalogue import OWN_IMAGES
from circlet.data.check import check_data_set
from circlet.data.copies import settled
from circlet.data.notes import say_once
from circlet.data.pictures import _tail, pictures
from circlet.data.regular import NotAFileError
from circlet.evaluate import retrieval
from circlet.experiments import build_splits, check_task
from circlet.experiments.experiment import DataConfig
from circlet.experiments.loading import warn_of_straddling


@pytest.fixture(autouse=True)
def _say_again():
    say_once.cache_clear()


@pytest.fixture
def photos(tmp_path):
    """A folder of two images in each of four classes, all different."""
    rng = np.random.default_rng(0)
    for number in range(8):
        path = tmp_path / "photos" / "abcd"[number // 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def opened(root, source="folder", **settings):
    return build_splits(DataConfig(source=source, root=root, **settings))


def table(root, *rows, header="path,label,split"):
    path = root / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


SPLIT = ("a/0.png,a,train", "a/1.png,a,train", "b/2.png,b,query", "b/3.png,b,gallery")


def test_a_folder_without_copies_is_left_as_it_is(photos, capsys):
    splits = opened(photos)
    assert (len(splits.train), len(splits.query)) == (4, 4)
    assert splits.query.groups is None
    assert capsys.readouterr().err == ""


def test_a_copy_in_its_own_class_is_taken_once(photos, capsys):
    (photos / "a" / "copy.png").write_bytes((photos / "a" / "1.png").read_bytes())
    splits = opened(photos)
    assert len(splits.train) + len(splits.query) == 8
    assert "a/copy.png (as a/1.png)" in capsys.readouterr().err


def test_a_copy_in_another_class(photos, capsys):
    (photos / "b" / "copy.png").write_bytes((photos / "a" / "1.png").read_bytes())
    with pytest.raises(
        DataError, match=r"the same picture, byte for byte, under the labels '[ab]' and '[ab]'"
    ) as error:
        opened(photos)
    assert "a/1.png" in str(error.value)
    assert "b/copy.png" in str(error.value)
    splits = opened(photos, on_error="skip")
    assert len(splits.train) + len(splits.query) == 7
    assert "2 images are left out, of pictures that are under two labels or cameras" in capsys.readouterr().err


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_an_image_of_another_class(photos, link):
    link(photos / "a" / "1.png", photos / "b" / "link.png")
    with pytest.raises(DataError, match=r"found one file under the labels"):
        opened(photos)


def test_a_published_set_is_left_as_published(photos, monkeypatch):
    (photos / "b" / "copy.png").write_bytes((photos / "a" / "1.png").read_bytes())
    monkeypatch.setitem(OWN_IMAGES, "folder", replace(OWN_IMAGES["folder"], counts={"images": 9}))
    splits = opened(photos)
    assert len(splits.train) + len(splits.query) == 9


def test_listed_twice_in_one_role_with_one_label(photos, capsys):
    splits = manifest(table(photos, *SPLIT, "b/3.png,b,gallery", "a/0.png,a,train"))
    assert (splits.train.names, splits.gallery.names) == (("a/0.png", "a/1.png"), ("b/3.png",))
    assert (
        "2 rows list an image once more, which is taken once: b/3.png in line 5 and line 6, " in capsys.readouterr().err
    )


def test_listed_under_two_labels(photos):
    with pytest.raises(DataError, match=r"line 5 and line 6: found the image 'b/3.png' under the labels 'b' and 'c'"):
        manifest(table(photos, *SPLIT, "b/3.png,c,gallery"))


def test_listed_under_two_cameras(photos):
    rows = ("a/0.png,a,c1", "b/2.png,b,c1", "b/2.png,b,c2")
    with pytest.raises(DataError, match=r"line 3 and line 4: found the image 'b/2.png' under the cameras number 0 and"):
        manifest(table(photos, *rows, header="path,label,camera"))


def test_listed_in_train_and_test(photos):
    rows = (*SPLIT, "a/1.png,a,gallery")
    with pytest.raises(DataError, match=r"line 3 and line 6: found the image 'a/1.png' in train and in gallery"):
        manifest(table(photos, *rows), closed_set=True)


def test_listed_under_two_names(photos):
    """By path, by link and by content: lines are named for each."""
    (photos / "copy.png").write_bytes((photos / "b" / "3.png").read_bytes())
    for name in ("./b/3.png", str(photos / "b" / "3.png"), "copy.png"):
        path = table(photos, *SPLIT, f"{name},c,gallery")
        with pytest.raises(
            DataError, match=r"list.csv, line 5 \(b/3.png\) and .*list.csv, line 6 .* labels 'b' and 'c'"
        ):
            opened(path, "manifest")
    assert manifest(path).gallery.num_classes == 2  # a table alone does not look into files


def test_one_file_in_train_and_test_under_another_name(photos):
    path = table(photos, *SPLIT, "./a/1.png,a,gallery")
    with pytest.raises(DataError, match=r"line 3 .* and .*line 6 .*: found one file in train and in gallery \(1 such"):
        opened(path, "manifest", closed_set=True)


def test_boxes_of_one_photograph_are_not_one_picture(photos):
    rows = ("a/0.png,a,train,0 0 2 2", "a/0.png,b,test,2 2 2 2", "a/1.png,b,test,0 0 2 2", "a/1.png,b,test,1 1 2 2")
    splits = opened(table(photos, *rows, header="path,label,split,bbox"), "manifest")
    assert (len(splits.train), len(splits.query)) == (1, 3)
    with pytest.raises(DataError, match=r"line 2 and line 6: found the image 'a/0.png#xywh=0,0,2,2' under the labels"):
        manifest(table(photos, *rows, "a/0.png,b,test,0 0 2 2", header="path,label,split,bbox"))


def test_the_query_itself_in_the_gallery_is_left_out_of_its_search(photos, capsys):
    rows = ("a/0.png,a,train", "a/1.png,a,train", *(f"{c}/{i}.png,{c},query" for c, i in ("b2", "b3", "c4", "c5")))
    rows += tuple(row.replace("query", "gallery") for row in rows[2:])
    splits = opened(table(photos, *rows), "manifest")
    assert "4 query images are in the gallery too" in capsys.readouterr().err
    query, gallery = splits.query, splits.gallery
    assert query.groups.tolist() == gallery.groups.tolist()
    labels, gallery_labels = splits.matching_labels()
    noise = np.random.default_rng(1).normal(size=(4, 64))
    rows = torch.from_numpy(noise)
    found = retrieval(rows, labels, ks=(1,), gallery=rows, gallery_labels=gallery_labels)
    assert found.recall_at_k[1] == 1.0  # by its own file
    own = {"groups": query.groups, "gallery_groups": gallery.groups}
    found = retrieval(rows, labels, ks=(1,), gallery=rows, gallery_labels=gallery_labels, **own)
    assert found == retrieval(rows, labels, ks=(1,))


def test_a_gallery_of_the_queries_alone_has_nothing_to_find(photos):
    rows = ("a/0.png,a,train", "b/2.png,b,query", "c/4.png,c,query", "b/2.png,b,gallery", "c/4.png,c,gallery")
    with pytest.raises(DataError, match="found no image in the gallery that a query could find but its own file"):
        check_task("retrieval", opened(table(photos, *rows), "manifest"))


def test_groups_of_a_table_are_kept_beside_those_of_copies(photos):
    header = "path,label,split,group"
    rows = (
        "a/0.png,a,train,g1",
        "b/2.png,b,query,g2",
        "c/4.png,c,query,",
        "b/3.png,b,gallery,g2",
        "b/2.png,b,gallery,g9",
    )
    splits = opened(table(photos, *rows, header=header), "manifest")
    query, gallery = splits.query.groups.tolist(), splits.gallery.groups.tolist()
    assert query[0] == gallery[0] == gallery[1]
    assert query[1] not in gallery


@pytest.mark.parametrize("other", ["b ", " b", "b\u00a0", "b\u200b"])
def test_labels_that_differ_by_a_blank(photos, other):
    with pytest.raises(DataError, match=r"line 4 and line 6: found 'b' and '.*b.*' in label, which differ by blanks"):
        manifest(table(photos, *SPLIT, f"c/4.png,{other},gallery"))


def test_labels_that_differ_by_the_normal_form(photos):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    rows = (f"a/0.png,{forms[0]},train", f"b/2.png,{forms[1]},test")
    with pytest.raises(DataError, match=r"line 2 and line 3: found 'caf.*' and 'caf.*' in label"):
        manifest(table(photos, *rows))


@pytest.mark.parametrize("column", ["camera", "group", "category"])
def test_cells_of_other_columns_that_differ_by_a_blank(photos, column):
    with pytest.raises(DataError, match=rf"line 2 and line 3: found 'x' and 'x ' in column '{column}'"):
        manifest(table(photos, "a/0.png,a,x", "b/2.png,b,x ", header=f"path,label,{column}"))


def test_class_names_that_differ_by_a_blank_in_python():
    def images(label):
        return ImageSet.from_classes([label], ["1.png"], FileReader("nowhere", ("1.png",)))

    with pytest.raises(DataError, match=r"class_names: found 'cat' and 'cat ', which differ by blanks"):
        Splits(images("cat"), images("cat "))


def test_every_image_as_query_is_not_in_its_own_training_set(photos):
    """As `circlet evaluate --root` does: the part to train on means nothing."""
    (photos / "a" / "copy.png").write_bytes((photos / "a" / "1.png").read_bytes())
    whole = open_data_set("folder", photos)
    names = (*whole.train.names, *whole.query.names)
    images = ImageSet.from_classes([name[0] for name in names], names, FileReader(str(photos), names))
    found = settled(Splits(images, images, closed_set=True))
    assert found.train is found.query
    assert len(found.query) == 8


def photograph(label, *names, root, **more):
    return ImageSet.from_classes([label] * len(names), names, FileReader(str(root), names), **more)


def test_a_copy_within_a_role_is_named_with_its_like_in_that_role(photos, capsys):
    (photos / "a" / "copy.png").write_bytes((photos / "a" / "0.png").read_bytes())
    query = photograph("a", "a/0.png", "a/1.png", root=photos)
    gallery = photograph("a", "a/1.png", "a/copy.png", "./a/1.png", "./a/0.png", root=photos)
    found = settled(Splits(photograph("b", "b/2.png", root=photos), query, gallery))
    assert found.gallery.names == ("a/1.png", "a/copy.png")
    assert "same role has already, byte for byte: ./a/1.png (as a/1.png), ./a/0.png (as a/copy.png)\n" in (
        capsys.readouterr().err
    )


def test_one_picture_under_two_cameras_names_no_invented_number(photos):
    images = photograph("a", "a/0.png", "./a/0.png", root=photos, cameras=np.array([0, 1]))
    message = r"found one file under two cameras, expected one .*--data.on-error skip .*, on_error=\"skip\" in Python\)"
    with pytest.raises(DataError, match=message):
        settled(Splits(photograph("b", "b/2.png", root=photos, cameras=np.array([0])), images))


def test_copies_and_parts_in_train_and_test_are_told_of_when_the_set_is_opened(photos, capsys):
    (photos / "b" / "copy.png").write_bytes((photos / "b" / "2.png").read_bytes())
    rows = ("b/2.png,b,train,", "b/copy.png,b,test,", "a/0.png,a,train,0 0 2 2", "a/0.png,a,test,2 2 2 2")
    path = table(photos, *rows, header="path,label,split,bbox")
    splits = opened(path, "manifest", closed_set=True)
    told = "2 files are in train and, byte for byte, in query: b/2.png and b/copy.png, a/0.png#xywh=0,0,2,2 and a/0.png"
    assert told in capsys.readouterr().err
    warn_of_straddling(splits, DataConfig(source="manifest", root=path))
    warn_of_straddling(splits)
    assert capsys.readouterr().err == ""  # not once more


def test_what_was_told_of_is_not_read_again(photos, monkeypatch):
    splits = opened(photos)

    def read(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(import_module("circlet.data.straddling"), "pictures", read)
    warn_of_straddling(splits, DataConfig(source="folder", root=photos))
    with pytest.raises(AssertionError, match="read again"):
        warn_of_straddling(splits)  # of which it is not known


def test_two_files_of_one_number_are_two_files(photos, monkeypatch):
    """As some virtual file systems give them."""
    stat = os.stat
    (photos / "a" / "1.png").write_bytes(b"another")

    def numbered(path, *args, **options):
        found = stat(path, *args, **options)
        own = list(found.__reduce__()[1][0])
        own[1] = 7
        return os.stat_result(own, found.__reduce__()[1][1]) if str(path).endswith("png") else found

    monkeypatch.setattr("circlet.data.pictures.os.stat", numbered)
    assert len(set(pictures(photograph("a", "a/0.png", "a/1.png", root=photos)).file.tolist())) == 2


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotAFileError, match="expected one"):
        _tail(str(tmp_path / "pipe"))


def test_what_equals_nothing(tmp_path):
    """Missing files, empty ones, pipes, folders, names with a zero byte, and readers that tell no part."""
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("empty1.png", "empty2.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    names = ("pipe.png", "pipe.png", "empty1.png", "empty2.png", "folder.png", "gone.png", "a\0b.png", "gone.png")
    images = ImageSet.from_classes(["a"] * len(names), names, FileReader(str(tmp_path), names))
    assert len(set(pictures(images).content.tolist())) == len(names)
    drawn = ImageSet.from_classes(["a", "a"], ["1", "2"], lambda index: None)
    assert len(set(pictures(drawn, drawn).content.tolist())) == 4


def test_files_of_one_size_and_one_end_are_read_whole(tmp_path):
    for name, start in (("1", b"x"), ("2", b"y"), ("3", b"x")):
        (tmp_path / name).write_bytes(start + bytes(9000))
    images = ImageSet.from_classes(["a"] * 3, ["1", "2", "3"], FileReader(str(tmp_path), ("1", "2", "3")))
    assert pictures(images).content.tolist() == [0, 1, 0]
    assert pictures(images).file.tolist() == [0, 1, 2]


def test_the_check_of_a_copy_names_what_contradicts(photos):
    (photos / "b" / "copy.png").write_bytes((photos / "a" / "1.png").read_bytes())
    problems = check_data_set("folder", photos, sample=0)
    assert len(problems) == 1
    assert "the same picture, byte for byte, under the labels" in problems[0]
