"""Split folders under any usual name are a split and never classes; what could be either is refused."""

import unicodedata

import pytest

from circlet.data import DataError, image_folder
from circlet.data.every_image import every_image, images_to_test
from circlet.data.lookalikes import lookalikes
from tests.data.miniature import put_small as put


def refused(root):
    """What is said of a root that neither training nor test may take."""
    with pytest.raises(DataError) as error:
        image_folder(root)
    with pytest.raises(DataError):
        images_to_test(root)
    assert str(root) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING", "training"])
@pytest.mark.parametrize("test", ["val", "Valid", "validation", "Dev", "TEST", "testing", "query", "Probe"])
def test_usual_names_in_any_case_are_a_split(tmp_path, train, test):
    put(tmp_path, f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/c/1.png", f"{test}/d/1.png")
    splits = image_folder(tmp_path)
    assert (splits.train.class_names, splits.query.class_names) == (("a", "b"), ("c", "d"))
    assert images_to_test(tmp_path).query.class_names == ("c", "d")


def test_train_and_valid_alone_test_on_valid_and_say_so(tmp_path, capsys):
    put(tmp_path, "train/a/1.png", "valid/b/1.png")
    assert image_folder(tmp_path).query.names == ("valid/b/1.png",)
    assert capsys.readouterr().err == f"{tmp_path}: found no test beside train, so valid is the test set\n"


def test_with_a_test_the_validation_folder_is_left_alone_and_said_so(tmp_path, capsys):
    put(tmp_path, "train/a/1.png", "valid/b/1.png", "test/c/1.png")
    splits = image_folder(tmp_path)
    assert splits.train.names + splits.query.names == ("train/a/1.png", "test/c/1.png")
    assert "trains on train and tests on test; valid is left alone" in capsys.readouterr().err


def test_a_split_as_documented_goes_without_a_word(tmp_path, capsys):
    put(tmp_path, "train/a/1.png", "query/b/1.png", "gallery/b/2.png")
    image_folder(tmp_path)
    assert capsys.readouterr().err == ""


def test_the_same_classes_in_train_and_valid_are_refused_unless_meant(tmp_path):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/2.png", "valid/b/2.png")
    with pytest.raises(DataError, match=r"valid/a/2.png has the class of train/a/1.png"):
        image_folder(tmp_path)
    assert image_folder(tmp_path, closed_set=True).query.class_names == ("a", "b")


def test_train_alone_is_split_by_its_classes(tmp_path, capsys):
    put(tmp_path, *(f"Train/{name}/1.png" for name in "abcd"))
    splits = image_folder(tmp_path)
    assert sorted(splits.train.class_names + splits.query.class_names) == ["a", "b", "c", "d"]
    assert "found Train and no folder to test on" in capsys.readouterr().err


@pytest.mark.parametrize("names", [("val", "dev"), ("Test", "testing"), ("query", "probe"), ("train", "Training")])
def test_two_folders_for_one_role_are_refused(tmp_path, names):
    put(tmp_path, f"{names[0]}/a/1.png", f"{names[1]}/b/1.png", "gallery/c/1.png")
    message = refused(tmp_path)
    assert "found two folders for" in message
    assert f"{min(names)} and {max(names)}, expected one; rename" in message


def test_split_folders_beside_class_folders_are_refused(tmp_path):
    put(tmp_path, "train/a/1.png", "cat/1.png", "dog/1.png")
    assert "found the folders cat, dog beside those of the split (train), expected no other; rename" in refused(
        tmp_path
    )


def test_a_folder_of_test_images_beside_class_folders_is_refused(tmp_path):
    put(tmp_path, "test/1.png", "cat/1.png", "dog/1.png")
    assert "found the folders cat, dog beside those of the split (test)" in refused(tmp_path)


def test_a_train_among_vehicles_is_a_class(tmp_path):
    put(tmp_path, "bus/1.png", "car/1.png", "train/1.png")
    assert images_to_test(tmp_path).query.class_names == ("bus", "car", "train")
    splits = image_folder(tmp_path)
    assert sorted(splits.train.class_names + splits.query.class_names) == ["bus", "car", "train"]


@pytest.mark.parametrize("paths", [("set/train/a/1.png", "set/test/a/1.png"), ("a/train/1.png", "a/test/1.png")])
def test_split_folders_further_down_are_refused(tmp_path, paths):
    put(tmp_path, *paths, "b/1.png")
    assert "found the split folders test, train inside, expected them at the top" in refused(tmp_path)


def test_names_that_only_speak_of_a_split_are_refused(tmp_path):
    put(tmp_path, "train_images/a/1.png", "test_images/a/1.png")
    assert "test_images, train_images, whose names speak of a split" in refused(tmp_path)


def test_names_that_speak_of_a_split_among_others_are_classes(tmp_path):
    put(tmp_path, "test kit/1.png", "train set/1.png", "cup/1.png")
    assert images_to_test(tmp_path).query.class_names == ("cup", "test kit", "train set")


def test_images_beside_the_split_folders_are_told_of(tmp_path, capsys):
    put(tmp_path, "train/a/1.png", "test/b/1.png", "sheet.png")
    image_folder(tmp_path)
    assert capsys.readouterr().err.endswith("1 file passed over: image outside the split (1)\n")


def test_evaluating_a_folder_with_a_split_uses_its_test_and_says_so(tmp_path, capsys):
    put(tmp_path, "train/a/1.png", "train/b/1.png", "Test/a/2.png", "Test/b/2.png")
    splits = images_to_test(tmp_path)
    assert splits.query.names == ("Test/a/2.png", "Test/b/2.png")
    assert splits.gallery is None
    assert capsys.readouterr().err == f"{tmp_path}: tests on Test; train is left alone\n"


def test_evaluating_a_folder_with_query_and_gallery_searches_the_gallery(tmp_path, capsys):
    put(tmp_path, "query/a/1.png", "gallery/a/2.png", "gallery/b/1.png", "train/c/1.png", "val/d/1.png")
    splits = images_to_test(tmp_path)
    assert (splits.query.names, splits.gallery.class_names) == (("query/a/1.png",), ("a", "b"))
    assert "tests on query against gallery; train, val are left alone" in capsys.readouterr().err


def test_evaluating_a_folder_without_a_split_uses_all_of_it(tmp_path, capsys):
    put(tmp_path, "a/1.png", "b/c/1.png", "2.png")
    assert images_to_test(tmp_path).query.class_names == (".", "a", "b/c")
    assert capsys.readouterr().err == ""


def test_evaluating_a_manifest_with_a_split_uses_its_test(tmp_path, capsys):
    put(tmp_path, "1.png", "2.png", "3.png")
    table = tmp_path / "list.csv"
    table.write_text("path,label,split\n1.png,a,train\n2.png,b,test\n3.png,b,test\n")
    assert images_to_test(table).query.names == ("2.png", "3.png")
    assert "tests on test; train is left alone" in capsys.readouterr().err
    table.write_text("path,label,split\n1.png,a,query\n2.png,a,gallery\n3.png,b,somewhere\n")
    with pytest.raises(DataError, match=r"values somewhere .* \(gallery, query\), expected no other$"):
        images_to_test(table)


def test_embedding_a_folder_with_a_split_takes_all_and_classes_stand_once(tmp_path, capsys):
    put(tmp_path, "train/a/1.png", "Valid/a/2.png", "Valid/b/1.png")
    images = every_image(tmp_path)
    assert images.names == ("Valid/a/2.png", "Valid/b/1.png", "train/a/1.png")
    assert [images.class_names[label] for label in images.labels] == ["a", "b", "a"]
    assert "takes all of Valid, train; the classes are the folders in them" in capsys.readouterr().err


def test_embedding_any_other_tree_keeps_its_folders(tmp_path):
    put(tmp_path, "trips/a/1.png", "holiday/1.png", "1.png")
    assert every_image(tmp_path).class_names == (".", "holiday", "trips/a")


def test_embedding_a_folder_with_something_beside_its_split_is_refused(tmp_path):
    put(tmp_path, "train/a/1.png", "test/a/2.png", "annotations/a/3.png")
    with pytest.raises(DataError, match=r"found the folders annotations beside those of the split \(test, train\)"):
        every_image(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cat "),
        ("cat", "cat\u00a0"),
        ("big cat", "big  cat"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
        ("cat", "c\u200bat"),
    ],
)
@pytest.mark.parametrize("parts", [("", ""), ("train/", "test/")])
def test_class_folders_that_look_the_same_are_refused(tmp_path, one, other, parts):
    put(tmp_path, f"{parts[0]}{one}/1.png", f"{parts[1]}{other}/2.png", f"{parts[0]}dog/1.png")
    with pytest.raises(DataError, match="which differ by blanks or by what does not show") as error:
        image_folder(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}: class_names: found ")
    assert ascii(one) in str(error.value)
    assert ascii(other) in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"),  # Persian
     ("\u0d28\u0d4d\u200d", "\u0d28\u0d4d"), ("\U0001f468\u200d\U0001f33e", "\U0001f468\U0001f33e")],
)  # fmt: skip
def test_names_that_joiners_tell_apart_are_two_classes(one, other):
    assert lookalikes([one, other]) is None
    assert lookalikes(["cat", "c\u200dat"]) == ("cat", "c\u200dat")
    assert lookalikes([one, f"{one}\u200b"]) is not None
