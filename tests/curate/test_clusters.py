"""Clusters, their agreement with classes, and folders of links under safe names."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet.curate import agreement, clusters_of
from circlet.curate.clusters import Clusters
from circlet.curate.page import clusters_page
from circlet.curate.placing import by_cluster, by_own_name, place_images, safe_name
from circlet.data import DataError, ImageSet, glyphs
from circlet.data.images import FileReader
from tests.curate.test_findings import scattered


def test_classes_far_apart_are_clusters():
    rows, labels = scattered(spread=0.2)
    found = clusters_of(rows)
    assert found.number == 12
    agreed = agreement(found, labels)
    assert agreed.ami > 0.95
    assert agreed.purity == 1.0
    assert sorted(found.members(3).tolist()) == np.flatnonzero(found.cluster == 3).tolist()
    strength = found.strength[found.members(3)]
    assert (np.diff(strength) <= 0).all()


def test_clusters_are_numbered_by_size():
    rows, labels = scattered(spread=0.2)
    kept = np.flatnonzero((labels > 0) | (np.arange(len(labels)) < 7))
    found = clusters_of(rows[torch.from_numpy(kept)])
    sizes = np.bincount(found.cluster[found.cluster >= 0])
    assert (np.diff(sizes) <= 0).all()
    assert sizes[-1] == 7


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_fewer_images_than_a_cluster(number):
    found = clusters_of(torch.eye(8)[:number])
    assert (found.number, found.cluster.tolist()) == (0, [-1] * number)


def test_equal_images_are_one_cluster_and_neighbours_may_be_all():
    rows = torch.eye(2).repeat_interleave(5, 0)
    assert clusters_of(rows).cluster.tolist() == [0] * 5 + [1] * 5
    with pytest.raises(ValueError, match="least: found 1, expected at least 2 images in a cluster"):
        clusters_of(rows, least=1)


def test_agreement_of_no_cluster():
    none = Clusters(np.full(6, -1), np.zeros(6))
    assert agreement(none, np.arange(6) % 2) == (0.0, 0.0, 0.0)


@given(st.text(min_size=1, max_size=300))
def test_a_safe_name_is_one_part_of_a_path(text):
    name = safe_name(text)
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\:*?"<>|\0\n\x1b')
    assert not name.startswith(".")
    assert len(name.encode(errors="surrogateescape")) <= 130


def files(tmp_path, names):
    for i in range(len(names)):
        (tmp_path / f"{i}.bin").write_text(str(i))
    paths = tuple(str(tmp_path / f"{i}.bin") for i in range(len(names)))
    return ImageSet.from_classes(["c"] * len(names), names, FileReader("", paths))


def test_links_stay_inside_and_collide_with_none(tmp_path):
    images = files(tmp_path, ["../../a.png", "a/b.png", "a/B.png", "/etc/x.png"])
    place_images(images, range(4), by_own_name(images, range(4)), tmp_path / "out")
    found = sorted(os.path.join(os.path.relpath(base, tmp_path / "out"), name)
                   for base, _, names in os.walk(tmp_path / "out") for name in names)  # fmt: skip
    assert found == ["_./_./a.png", "a/B-2.png", "a/b.png", "etc/x.png"]
    assert (tmp_path / "out/a/B-2.png").resolve().read_text() == "2"
    assert not list(tmp_path.glob(".out*"))
    with pytest.raises(FileExistsError, match="found something there, expected nothing"):
        place_images(images, [0], [("a",)], tmp_path / "out")


def test_copies_by_cluster(tmp_path):
    images = files(tmp_path, ["a/0.png", "b/0.png", "b/1.png"])
    found = Clusters(np.array([0, 0, -1]), np.ones(3))
    place_images(images, range(3), by_cluster(images, found), tmp_path / "out", copy=True)
    assert (tmp_path / "out/1/b__0.png").read_text() == "1"
    assert (tmp_path / "out/none/b__1.png").is_file()
    assert not (tmp_path / "out/none/b__1.png").is_symlink()


def test_nothing_is_left_of_a_folder_that_could_not_be_made(tmp_path):
    images = files(tmp_path, ["0", "1"])
    (tmp_path / "1.bin").unlink()
    with pytest.raises(FileNotFoundError):
        place_images(images, range(2), [("a",), ("b",)], tmp_path / "out", copy=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.bin"]
    with pytest.raises(DataError, match="no whole file"):
        place_images(glyphs().query.subset([0]), [0], [("a",)], tmp_path / "out")


def test_the_page_of_clusters():
    images = glyphs().query.subset(range(12))
    found = Clusters(np.array([0] * 6 + [1] * 5 + [-1]), np.ones(12))
    text = clusters_page(images, found, None, "<b>glyphs</b>", "clusters.csv")
    assert "12 images in 2 clusters; 1 in none" in text
    assert "&lt;b&gt;glyphs" in text
    assert "AMI" not in text
