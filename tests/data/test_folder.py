import pytest

from circlet.data import DataError, image_folder
from tests.data.miniature import put_small as put


def test_classes_without_split(tmp_path):
    put(tmp_path, "b/2.png", "b/10.JPG", "a/x.png", "a/deep/y.webp", "c/1.tif", "c/.hidden.png", ".git/z.png")
    (tmp_path / "b" / "notes.txt").write_text("no image")
    splits = image_folder(tmp_path, held_out=2, seed=3)
    both = {**dict(zip(splits.train.names, splits.train.labels, strict=True)), **dict.fromkeys(splits.query.names)}
    assert sorted(both) == ["a/deep/y.webp", "a/x.png", "b/10.JPG", "b/2.png", "c/1.tif"]
    classes = splits.train.class_names + splits.query.class_names
    assert sorted(classes) == ["a", "a/deep", "b", "c"]
    assert splits.query.num_classes == 2
    with splits.train.read(0) as image:
        assert image.size == (4, 4)


def test_query_and_gallery(tmp_path):
    put(tmp_path, "train/a/1.png", "query/b/1.png", "gallery/b/2.png", "gallery/c/1.png")
    splits = image_folder(str(tmp_path))
    assert splits.train.names == ("train/a/1.png",)
    assert splits.query.class_names == ("b",)
    assert splits.gallery.class_names == ("b", "c")


@pytest.mark.parametrize("role", ["test", "val", "query"])
def test_train_and_test(tmp_path, role):
    put(tmp_path, "train/a/1.png", f"{role}/b/1.png", f"{role}/c/1.png")
    splits = image_folder(tmp_path)
    assert splits.query.class_names == ("b", "c")
    assert splits.gallery is None


def test_test_goes_before_val(tmp_path):
    put(tmp_path, "train/a/1.png", "val/b/1.png", "test/c/1.png")
    assert image_folder(tmp_path).query.class_names == ("c",)


def test_overlap(tmp_path):
    put(tmp_path, "train/a/1.png", "test/a/2.png")
    with pytest.raises(DataError, match="'a'"):
        image_folder(tmp_path)
    assert image_folder(tmp_path, closed_set=True).query.class_names == ("a",)


def test_overlap_with_the_gallery(tmp_path):
    put(tmp_path, "train/a/1.png", "query/b/2.png", "gallery/b/3.png", "gallery/a/4.png")
    with pytest.raises(DataError, match=r"gallery: .* \('a'; gallery/a/4.png has the class of train/a/1.png\)"):
        image_folder(tmp_path)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "found no image"),
        (["1.png"], "outside any class"),
        (["train/1.png", "test/a/1.png"], "outside any class"),
        (["query/a/1.png", "gallery/a/2.png"], "split folders gallery, query"),
        (["train/a/1.png", "gallery/a/2.png"], "split folders gallery, train"),
        (["train/a/1.png", "test/b/2.png", "query/b/2.png"], "split folders query, test, train"),
        (["train/a/1.png", "test/b/2.png", "car/2.png"], "found the folders car beside"),
    ],
)
def test_bad_layouts(tmp_path, paths, message):
    put(tmp_path, *paths)
    with pytest.raises(DataError, match=message) as error:
        image_folder(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_class_without_image(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "readme.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"c: found a class folder without an image \(1 other files\)"):
        image_folder(tmp_path)


def test_missing_root_and_file_as_root(tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        image_folder(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="found a file"):
        image_folder(tmp_path / "file")


def test_links(tmp_path):
    root = tmp_path / "root"
    put(tmp_path, "secret/1.png", "root/a/1.png", "root/b/1.png")
    (root / "a" / "inside.png").symlink_to(root / "b" / "1.png")
    splits = image_folder(root)
    assert "a/inside.png" in splits.train.names + splits.query.names
    (root / "a" / "outside.png").symlink_to(tmp_path / "secret" / "1.png")
    with pytest.raises(DataError, match=r"outside.png: found a link .*1 such links"):
        image_folder(root)
    (root / "a" / "outside.png").unlink()
    (root / "d").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="found a link"):
        image_folder(root)


def test_a_split_that_is_a_link(tmp_path):
    put(tmp_path, "elsewhere/a/1.png", "root/test/b/1.png")
    (tmp_path / "root" / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"train: found a link to .*elsewhere \(1 such links"):
        image_folder(tmp_path / "root")
