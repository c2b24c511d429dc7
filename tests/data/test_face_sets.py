"""LFW, YTF, IJB-C and MegaFace: pairs, videos, templates and distractors, and errors that say where."""

import numpy as np
import pytest

from circlet.data import DataError, FileReader, ImageSet, ijbc, lfw, megaface, ytf
from circlet.data.check import count
from circlet.data.evaluation_sets import FacePairs, Identification, Templates
from tests.data import miniature

WRITERS = {
    "lfw": (lfw, miniature.write_lfw),
    "ytf": (ytf, miniature.write_ytf),
    "ijbc": (ijbc, miniature.write_ijbc),
    "megaface": (megaface, miniature.write_megaface),
}


@pytest.mark.parametrize("name", WRITERS)
def test_counts(name, tmp_path):
    load, write = WRITERS[name]
    expected = write(tmp_path)
    found = count(load(tmp_path))
    assert {what: found[what] for what in expected} == expected


def test_lfw_pairs(tmp_path):
    miniature.write_lfw(tmp_path)
    pairs = lfw(tmp_path)
    assert len(pairs.images) == len(set(pairs.images.names)) <= 15  # each image once
    persons = np.array(pairs.images.class_names)[pairs.images.labels][pairs.pairs]
    assert (persons[:, 0] == persons[:, 1]).tolist() == pairs.is_same.tolist() == [True, True, False, False] * 10
    names = [[pairs.images.names[i] for i in row] for row in pairs.pairs]
    assert names[1] == [f"Person_B_van_BB/Person_B_van_BB_000{i}.jpg" for i in (2, 3)]
    assert names[2] == ["Person_A_van_AA/Person_A_van_AA_0001.jpg", "Person_B_van_BB/Person_B_van_BB_0002.jpg"]
    with pairs.images.read(0) as image:
        assert image.size == (32, 32)


def test_lfw_in_other_folders(tmp_path):
    miniature.write_lfw(tmp_path)
    expected = lfw(tmp_path).images.names
    (tmp_path / "lfw").rename(tmp_path / "lfw-deepfunneled")
    assert lfw(tmp_path).images.names == expected
    for person in (tmp_path / "lfw-deepfunneled").iterdir():
        person.rename(tmp_path / person.name)
    (tmp_path / "lfw-deepfunneled").rmdir()
    assert lfw(tmp_path).images.names == expected


def test_lfw_in_aligned_copies_that_are_png(tmp_path):
    miniature.write_lfw(tmp_path)
    expected = [name.removesuffix(".jpg") for name in lfw(tmp_path).images.names]
    for path in (tmp_path / "lfw").glob("*/*.jpg"):
        path.rename(path.with_suffix(".png"))
    pairs = lfw(tmp_path)
    assert [name.removesuffix(".png") for name in pairs.images.names] == expected
    with pairs.images.read(0) as image:
        assert image.size == (32, 32)
    (tmp_path / "lfw" / "Person_B_van_BB" / "Person_B_van_BB_0002.png").unlink()
    with pytest.raises(DataError, match=r"pairs.txt, line 3: .* missing, 1 of the 15 listed in all \(.*BB_0002.png\)"):
        lfw(tmp_path)


def test_ytf_videos(tmp_path):
    miniature.write_ytf(tmp_path)
    pairs = ytf(tmp_path)
    assert pairs.frames.class_names == tuple(f"Person_{letter}/{video}" for letter in "ABCDE" for video in (0, 4))
    assert np.bincount(pairs.frames.labels).tolist() == [2, 2, 3, 3, 2, 2, 3, 3, 2, 2]
    names = np.array(pairs.frames.class_names)[pairs.pairs]
    assert names[1].tolist() == ["Person_B/0", "Person_B/4"]
    assert [a.split("/")[0] == b.split("/")[0] for a, b in names] == pairs.is_same.tolist()
    (tmp_path / "aligned_images_DB").rename(tmp_path / "frame_images_DB")
    assert ytf(tmp_path).frames.names == pairs.frames.names


def test_ijbc_rows(tmp_path):
    miniature.write_ijbc(tmp_path)
    templates = ijbc(tmp_path)
    assert templates.images.names[:4] == ("1.jpg", "2.jpg", "3.jpg", "4.jpg")
    assert templates.images.ids().tolist() == templates.template_ids.tolist() == [t for t in range(1, 9) for _ in "123"]
    assert templates.media_ids[:6].tolist() == [100, 101, 101, 200, 201, 201]
    assert templates.landmarks[5].tolist() == [[10.5, 15], [29.5, 15], [20, 22.25], [12, 35], [28, 35]]
    assert templates.landmarks.dtype == templates.detector_scores.dtype == np.float32
    assert templates.detector_scores[:3] == pytest.approx([0.91, 0.92, 0.93])
    assert templates.pairs[:3].tolist() == [[1, 2], [1, 3], [1, 4]]
    assert templates.is_same[:3].tolist() == [True, False, False]
    assert len(ijbc(tmp_path / "IJBC").pairs) == 28
    fields = (templates.template_ids, templates.media_ids, templates.pairs, templates.is_same)
    assert all(field.flags.writeable for field in fields)  # or torch would warn


def test_megaface_roles(tmp_path):
    miniature.write_megaface(tmp_path)
    found = megaface(tmp_path)
    assert found.probes.class_names == ("Person_0", "Person_1", "Person_2", "Person_3")
    assert found.probes.names[4] == "Person_1/Person_1_1.png"
    assert found.distractors.class_names[0] == "0/0@N00"
    with found.distractors.read(9) as image:
        assert image.size == (32, 32)


SPLITS, META = "splits.txt", "IJBC/meta"


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        ("lfw", "pairs.txt", "10\t2", "9\t2", r"pairs.txt, line 1: found '9 2' and 40 pairs below"),
        ("lfw", "pairs.txt", "10\t2", "2\t10", r"pairs.txt, line 4: found 4 columns, expected a pair of one person"),
        ("lfw", "pairs.txt", "10\t2", "40", r"pairs.txt, line 1: found 1 columns"),
        ("lfw", "pairs.txt", "10\t2", "ten\t2", r"pairs.txt, line 1: found 'ten'"),
        ("lfw", "pairs.txt", "\t1\t3", "\t1\tx", r"pairs.txt, line 2: found 'x', expected a whole number"),
        (
            "lfw",
            "pairs.txt",
            "\t1\t3",
            "\t8\t3",
            r"pairs.txt, line 2: found an .* 1 of the .* \(Person_A_van_AA/Person_A_van_AA_0008.jpg",
        ),
        ("ytf", SPLITS, "\n10, 1,", "\n9, 1,", r"splits.txt, line 38: found split 9, expected 10 splits of"),
        ("ytf", SPLITS, "\n1, 1,", "\n11, 1,", r"splits.txt, line 2: found split 11"),
        ("ytf", SPLITS, "/4, 0", "/4, 2", r"splits.txt, line 2: found '2', expected 1"),
        ("ytf", SPLITS, "/4, 0", "/4", r"splits.txt, line 2: found 4 columns"),
        ("ytf", SPLITS, "Person_A/0", "Person_X/0", r"splits.txt, line 2: found no frame in .*Person_X/0,"),
        ("ytf", SPLITS, "Person_A/0", "../Person_X/0", r"splits.txt, line 2: found the video '../Person_X/0'"),
        ("ytf", SPLITS, "10, 4, ", "11, 4, ", r"splits.txt, line 41: found the end in split 11 after 40 pairs"),
        ("ytf", SPLITS, "split number", "number", r"splits.txt, line 1: found .* expected the header split"),
        ("ijbc", f"{META}/ijbc_face_tid_mid.txt", "3.jpg 1 101", "3.jpg 1", r"tid_mid.txt: found no readable .*Row #3"),
        (
            "ijbc",
            f"{META}/ijbc_face_tid_mid.txt",
            "3.jpg 1",
            "3.jpg x",
            r"tid_mid.txt: found no .*Row #3.*'x'",
        ),
        (
            "ijbc",
            f"{META}/ijbc_name_5pts_score.txt",
            "3.jpg",
            "7.jpg",
            r"score.txt, line 3: found '7.jpg'",
        ),
        ("ijbc", f"{META}/ijbc_name_5pts_score.txt", "24.jpg 10.5", "24.jpg", r"score.txt: found no .*Row #24"),
        ("ijbc", f"{META}/ijbc_template_pair_label.txt", "1 2 1", "1 2 2", r"label.txt, line 1: found 2, expected 1"),
        (
            "ijbc",
            f"{META}/ijbc_template_pair_label.txt",
            "1 2 1",
            "1 99 1",
            r"label.txt: pairs: found 1 temp.*99",
        ),
        ("megaface", "data/megaface_lst", "1/1@N00/", "", r"megaface_lst, line 2: found '1@N00_0.jpg', expected a fol"),
        ("megaface", "data/facescrub_lst", "Person_0/", "/", r"facescrub_lst, line 1: found the image '/Person_0"),
    ],
)
def test_bad_lists(name, file, old, new, message, tmp_path):
    load, write = WRITERS[name]
    write(tmp_path)
    content = (tmp_path / file).read_text()
    assert old in content
    (tmp_path / file).write_text(content.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_ytf_with_a_list_cut_off(tmp_path):
    miniature.write_ytf(tmp_path)
    path = tmp_path / "splits.txt"
    lines = path.read_text().splitlines(keepends=True)
    for kept, message in ((37, "line 37: found the end in split 9 after 36 pairs"), (40, "line 40: found .* 39 pairs")):
        path.write_text("".join(lines[:kept]))
        with pytest.raises(DataError, match=rf"splits.txt, {message}, expected it in split 10"):
            ytf(tmp_path)
    path.write_text("".join(lines[:37]))
    assert ytf(tmp_path, num_folds=9).num_folds == 9


def test_pairs_of_one_kind_are_found_when_a_set_is_opened(tmp_path):
    miniature.write_ytf(tmp_path / "ytf")
    path = tmp_path / "ytf" / "splits.txt"
    path.write_text("".join(f"{line[:-1]}1\n" if line.startswith("2,") else f"{line}\n"
                            for line in path.read_text().splitlines()))  # fmt: skip
    with pytest.raises(DataError, match=r"splits.txt: is_same: found 4 of the 4 pairs of fold 2 the same"):
        ytf(tmp_path / "ytf")
    miniature.write_ijbc(tmp_path / "ijbc")
    path = tmp_path / "ijbc" / META / "ijbc_template_pair_label.txt"
    path.write_text(path.read_text().replace(" 1\n", " 0\n"))
    with pytest.raises(DataError, match=r"label.txt: is_same: found 0 of 28 pairs the same, expected both kinds"):
        ijbc(tmp_path / "ijbc")


@pytest.mark.parametrize("name", WRITERS)
def test_half_extracted(name, tmp_path):
    load, write = WRITERS[name]
    write(tmp_path)
    for folder in [path for path in tmp_path.rglob("*") if path.is_dir() and any(path.glob("*.*g"))][-2:]:
        for path in folder.iterdir():
            path.unlink()
    with pytest.raises(DataError, match=r"found an image missing|found no frame"):
        load(tmp_path)


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_there(name, tmp_path):
    with pytest.raises(DataError, match="half extracted"):
        WRITERS[name][0](tmp_path)


def test_missing_lists_and_folders(tmp_path):
    for name, (_, write) in WRITERS.items():
        write(tmp_path / name)
    (tmp_path / "lfw" / "pairs.txt").write_text("10 0\n")
    with pytest.raises(DataError, match=r"pairs.txt, line 1: found '10 0' and 0 pairs below"):
        lfw(tmp_path / "lfw")
    (tmp_path / "ytf" / "aligned_images_DB").rename(tmp_path / "ytf" / "other")
    with pytest.raises(DataError, match="found none of aligned_images_DB, frame_images_DB"):
        ytf(tmp_path / "ytf")
    points = tmp_path / "ijbc" / META / "ijbc_name_5pts_score.txt"
    points.write_text(points.read_text().rsplit("24.jpg")[0])
    with pytest.raises(DataError, match="found 23 rows, expected 24"):
        ijbc(tmp_path / "ijbc")
    points.unlink()
    with pytest.raises(DataError, match=r"score.txt: found no such list"):
        ijbc(tmp_path / "ijbc")
    (tmp_path / "megaface" / "data" / "megaface_lst").write_text("")
    with pytest.raises(DataError, match="megaface_lst: found 0 lines"):
        megaface(tmp_path / "megaface")


def images(count):
    names = [f"{i}.jpg" for i in range(count)]
    return ImageSet.from_classes(names, names, FileReader("", tuple(names)))


@pytest.mark.parametrize(
    ("pairs", "is_same", "num_folds", "message"),
    [
        ([[0, 3], [1, 2]], [True, False], 2, r"pairs: found 0..3, expected 0..2"),
        ([[0, -1], [1, 2]], [True, False], 2, r"pairs: found -1..2"),
        ([0, 1], [True, False], 2, r"pairs: found int64 \(2,\)"),
        ([[0.0, 1.0]], [True], 2, "pairs: found float64"),
        ([[0, 1], [1, 2]], [1, 0], 2, r"is_same: found int64 \(2,\)"),
        ([[0, 1], [1, 2]], [True], 2, r"is_same: found bool \(1,\)"),
        ([[0, 1], [1, 2]], [True, False], 3, "num_folds: found 3 for 2 pairs"),
        ([[0, 1], [1, 2]], [True, False], 1, "num_folds: found 1"),
        ([[0, 1], [1, 2]], [True, False], 2, "is_same: found 1 of the 1 pairs of fold 1 the same, expected both"),
        ([[0, 1], [1, 2]] * 3, [True, False] * 2 + [False] * 2, 3, "found 0 of the 2 pairs of fold 3 the same"),
    ],
)
def test_pairs_must_fit(pairs, is_same, num_folds, message):
    with pytest.raises(DataError, match=message):
        FacePairs(images(3), np.array(pairs), np.array(is_same), num_folds)


def test_templates_must_fit():
    fields = {
        "template_ids": np.array([1, 1, 2]),
        "media_ids": np.array([1, 2, 3]),
        "pairs": np.array([[1, 2], [2, 2]]),
        "is_same": np.array([False, True]),
        "landmarks": np.zeros((3, 5, 2), np.float32),
        "detector_scores": np.ones(3, np.float32),
    }
    assert Templates(images(3), **fields).pairs.shape == (2, 2)
    for field in ("template_ids", "media_ids", "landmarks", "detector_scores"):
        with pytest.raises(DataError, match=rf"{field}: found \(2"):
            Templates(images(3), **{**fields, field: fields[field][:2]})


def test_identification_needs_both():
    with pytest.raises(DataError, match="distractors: found no image"):
        Identification(images(2), images(1).subset([]))
