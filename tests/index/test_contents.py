"""Files are read again exactly when they may have changed."""

import os
import time

import numpy as np
import pytest

from circlet.data import DataError, every_image
from circlet.index import contents as module
from circlet.index.contents import FilesSeen, contents
from tests.index.tiny import photos


@pytest.fixture
def reads(monkeypatch):
    """Names of the images that were read."""
    found = []
    real = module.content_digest

    def noted(images, index):
        found.append(images.names[index])
        return real(images, index)

    monkeypatch.setattr(module, "content_digest", noted)
    return found


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REST_NS", -(10**10))  # files of a moment ago are at rest
    return every_image(photos(tmp_path / "photos", 2, 2))


def test_what_was_seen_is_not_read_again(images, reads, tmp_path):
    first = contents(images, FilesSeen("photos", tmp_path))
    assert len(reads) == 4
    assert contents(images, FilesSeen("photos", tmp_path)) == first
    assert len(reads) == 4
    assert contents(images, FilesSeen("other", tmp_path)) == first
    assert len(reads) == 8


def test_whatever_touches_a_file_has_it_read_again(images, reads, tmp_path):
    contents(images, FilesSeen("photos", tmp_path))
    root = tmp_path / "photos"
    path = root / "class 0" / "0.png"
    stat = path.stat()
    for change in (
        lambda: os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns)),  # the inode's own time tells
        lambda: os.utime(path),
        lambda: path.write_bytes(path.read_bytes()),
        lambda: (path.rename(root / "x"), (root / "x").rename(path)),
    ):
        reads.clear()
        time.sleep(0.02)
        change()
        contents(images, FilesSeen("photos", tmp_path))
        assert reads == ["class 0/0.png"]


def test_a_file_that_was_written_just_now_is_not_remembered(images, reads, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_REST_NS", 10**12)
    for _ in range(2):
        contents(images, FilesSeen("photos", tmp_path))
    assert len(reads) == 8


@pytest.mark.parametrize("damage", ["cut", "other", "object", "nothing"])
def test_what_is_remembered_may_be_damaged(images, reads, tmp_path, damage):
    first = contents(images, FilesSeen("photos", tmp_path))
    path = FilesSeen("photos", tmp_path).path
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-7])
        case "other":
            np.save(path, np.zeros((3, 5), np.uint8))
        case "object":
            np.save(path, np.array([{}]), allow_pickle=True)
        case "nothing":
            path.write_bytes(b"")
    assert contents(images, FilesSeen("photos", tmp_path)) == first
    assert len(reads) == 8


def test_where_nothing_can_be_kept_files_are_read(images, reads, tmp_path):
    (tmp_path / "file").touch()
    assert len(contents(images, FilesSeen("photos", tmp_path / "file" / "folder"))) == 4


def test_what_cannot_be_read_is_told(images, tmp_path):
    (tmp_path / "photos" / "class 0" / "0.png").unlink()
    found = contents(images, FilesSeen("photos", tmp_path))
    assert isinstance(found[0], DataError)
    assert "class 0/0.png" in str(found[0]).replace(os.sep, "/")
    assert all(isinstance(each, str) and len(each) == 32 for each in found[1:])
