"""audit, dedupe and cluster as a user meets them."""

import csv
import json
import shutil

import pytest

from circlet.cli import main
from circlet.cli.audit import main as audit
from circlet.cli.cluster import main as cluster
from circlet.cli.dedupe import main as dedupe
from tests.index.tiny import photos, tiny_model


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    photos(tmp_path / "photos", 4, 6)
    shutil.copy("photos/class 0/0.png", "photos/class 0/again.png")
    for module in ("audit", "dedupe", "cluster"):
        monkeypatch.setattr(f"circlet.cli.{module}.load_model", lambda *_, **__: tiny_model(0, name="tiny"))


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_audit_writes_page_table_and_json(tmp_path, capsys):
    audit(["photos"])
    out = capsys.readouterr().out
    assert out.startswith("photos: 25 images of 4 classes, by tiny\n  equal files: 1 could go\n")
    assert "leaks between train and test: not looked for" in out
    rows = rows_of("audit.csv")
    assert rows[0]["kind"] == "equal files"
    assert (rows[0]["image"], rows[0]["other image"]) == ("class 0/again.png", "class 0/0.png")
    assert json.loads((tmp_path / "audit.json").read_text())["images"] == 25
    assert "Audit of" in (tmp_path / "audit.html").read_text()


def test_an_image_that_cannot_be_read_is_named_counted_and_passed_over(capsys):
    with open("photos/class 1/bad.jpg", "wb") as file:
        file.write(b"\xff\xd8\xff\xe0 nothing more")
    audit(["photos", "--out", "out/a"])
    found = capsys.readouterr()
    assert "passed over: photos/class 1/bad.jpg: found no readable image" in found.err
    assert "unreadable, passed over: 1, such as class 1/bad.jpg" in found.out
    assert [row["image"] for row in rows_of("out/a.csv") if row["kind"] == "unreadable"] == ["class 1/bad.jpg"]


def test_a_split_by_folders_is_looked_at_for_leaks(capsys):
    for part, name in (("train", "class 0"), ("test", "class 1")):
        shutil.copytree(f"photos/{name}", f"split/{part}/{name}")
    shutil.copy("split/train/class 0/1.png", "split/test/class 1/leak.png")
    audit(["split"])
    assert (
        "leaks between train and test (7 train, 6 query): 1 pictures on both sides"
        in capsys.readouterr().out.replace("7 query", "6 query")
    )
    assert "leak" in rows_of("audit.csv")[0]["kind"]


def test_dedupe_links_what_is_kept_and_deletes_nothing(tmp_path, capsys):
    before = sorted(path for path in (tmp_path / "photos").rglob("*"))
    dedupe(["photos", "--exact", "--link-unique", "unique"])
    assert "25 images, of which 1 could go: 1 equal files, 0 near duplicates" in capsys.readouterr().out
    assert len([path for path in (tmp_path / "unique").rglob("*.png") if path.is_symlink()]) == 24
    assert sorted(path for path in (tmp_path / "photos").rglob("*")) == before
    assert rows_of("duplicates.csv")[0]["suggestion"] == "remove, keep the other"


def test_cluster_writes_a_line_for_each_image(tmp_path, capsys):
    cluster(["photos", "--least", "3", "--folders", "sorted"])
    assert "photos: 25 images in " in capsys.readouterr().out
    rows = rows_of("clusters.csv")
    assert len(rows) == 25
    assert set(rows[0]) == {"image", "cluster", "strength", "class"}
    assert len([path for path in (tmp_path / "sorted").rglob("*") if path.is_symlink()]) == 25


def test_photos_without_classes(capsys):
    shutil.move("photos/class 0", "flat")
    audit(["flat"])
    assert "labels: not judged, all images are of one class" in capsys.readouterr().out
    cluster(["flat", "--least", "20"])
    out = capsys.readouterr().out
    assert "7 images in 0 clusters, 7 in none" in out
    assert "no 20 images are so much more alike" in out
    assert "AMI" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "nowhere"], "nowhere: found nothing, expected a folder of images"),
        (["dedupe", "empty"], "empty: found no image"),
        (["dedupe", "photos", "--threshold", "1.5"], "--threshold: found 1.5, expected a number above 0 and at most 1"),
        (["dedupe", "photos", "--exact", "--link-unique", "photos"], "photos: found something there, expected nothing"),
        (["cluster", "photos", "--least", "1"], "--least: found 1, expected at least 2"),
        (["cluster", "photos", "--copy"], "--copy: found without --folders"),
        (["cluster", "broken"], "found 1 images of which none can be read"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken/class").mkdir(parents=True)
    (tmp_path / "broken/class/1.jpg").write_bytes(b"no image")
    monkeypatch.setattr("circlet.cli.VERBS", dict.fromkeys(("audit", "dedupe", "cluster"), ""))
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not list(tmp_path.glob("*.csv"))
