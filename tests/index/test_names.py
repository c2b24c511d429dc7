"""No name of anybody's becomes a path outside the folders of an index."""

import os

import pytest

from circlet.index.names import of_added, of_folder, path_of


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "ant").mkdir(parents=True)
    for name in ("root/ant/1.jpg", "secret.jpg", "root2.jpg"):
        (tmp_path / name).touch()
    os.symlink(tmp_path / "secret.jpg", tmp_path / "root" / "link.jpg")
    os.symlink(tmp_path, tmp_path / "root" / "up")
    return tmp_path / "root"


def test_files_below_a_root(root):
    for name in ("ant/1.jpg", "./ant/1.jpg", f"{root}/ant/1.jpg"):
        assert path_of(name, ["/nowhere", str(root)]) == root / "ant" / "1.jpg"


@pytest.mark.parametrize(
    "name",
    ["../secret.jpg", "ant/../../secret.jpg", "link.jpg", "up/secret.jpg", "ant", "", ".", "nobody.jpg", "a\0b",
     "added:ant/1.jpg", "/etc/passwd", "x" * 5000, "../root2.jpg", "//etc/passwd"],
)  # fmt: skip
def test_and_nothing_else(root, name):
    assert path_of(name, [str(root)]) is None
    assert path_of(name, []) is None
    assert path_of(f"{root}/{name}", [str(root)]) is None


def test_the_whole_file_system_is_no_root(root):
    for name in ("root/ant/1.jpg", f"{root}/ant/1.jpg", str(root / "ant" / "1.jpg").lstrip("/")):
        for whole in ("/", "//", f"{root}/up" + "/.." * len(root.parts)):
            assert path_of(name, [whole]) is None


def test_what_images_are_called():
    assert (of_folder("a/1.jpg"), of_folder("added:a/1.jpg")) == ("a/1.jpg", "./added:a/1.jpg")
    assert (of_added("ann"), of_added("added:ann"), of_added("/x/1.jpg")) == ("added:ann", "added:ann", "/x/1.jpg")
