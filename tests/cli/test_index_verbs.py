"""index, search, identify and verify as a user meets them."""

import csv
import io
import json
import shutil

import pytest

from circlet.cli.identify import main as identify
from circlet.cli.index import main as index
from circlet.cli.search import main as search
from circlet.cli.verify import main as verify
from circlet.data import DataError
from circlet.index import Index
from circlet.locks import FolderInUse
from tests.index.tiny import photo, photos, tiny_model


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    """A folder `photos`, and tiny networks by the names of others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    photos(tmp_path / "photos", 6, 5)

    def loaded(source="efficientnet_lite0", **options):
        names = {"efficientnet_lite0": 0, "other": 1}
        if str(source) not in names:
            raise FileNotFoundError(f"{source}: found no such folder or file")
        return tiny_model(names[str(source)], name=str(source), trained=str(source) == "other")

    for module in ("circlet.cli.index", "circlet.cli.queries", "circlet.cli.verify", "circlet.index.settings"):
        monkeypatch.setattr(f"{module}.load_model", loaded)


def test_index_search_identify(tmp_path, capsys):
    index(["photos"])
    out = capsys.readouterr().out
    assert "photos.index: 30 images of 6 classes, by efficientnet_lite0\n" in out
    assert "new 30, changed 0, gone 0, unchanged 0; " in out
    assert "embedded 30 images in " in out
    assert "thresholds: chosen on 6 classes of the index itself" in out
    assert "next: circlet search photos.index IMAGE" in out
    search(["photos.index", "photos/class 0/0.png", "--k", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "photos/class 0/0.png"
    assert lines[1].split() == ["=", "1.000", "class", "0", "class", "0/0.png", "(the", "same", "file)"]
    assert [line.split()[0] for line in lines[2:]] == ["1", "2"]
    identify(["photos.index", "photos/class 0/0.png", "--fpir", "0.1"])
    out = capsys.readouterr().out
    assert out.startswith("photos/class 0/0.png: class 0 (similarity 1.000)\nthreshold 0.")
    assert "about 10 % of images of unknown classes are taken for one of 6 enrolled, on 6 classes" in out
    identify(["photos.index", "photos/class 0/0.png", "--threshold", "1", "--format", "json"])
    found = json.loads(capsys.readouterr().out)["images"][0]
    assert (found["threshold"], found["fpir"], len(found["candidates"])) == (1.0, None, 5)


def test_done_again_it_follows(capsys):
    index(["photos"])
    capsys.readouterr()
    index(["photos"])
    out = capsys.readouterr().out
    assert "new 0, changed 0, gone 0, unchanged 30; " in out
    assert "embedded" not in out
    shutil.rmtree("photos/class 1")
    index(["photos"])
    assert "photos.index: 25 images of 5 classes" in capsys.readouterr().out


def test_a_run_is_asked_for_once(capsys):
    index(["photos", "--model", "other", "--out", "mine"])
    capsys.readouterr()
    index(["photos", "--out", "mine"])
    out, _ = capsys.readouterr()
    assert "mine: 30 images of 6 classes, by other" in out
    assert "thresholds: none: other was trained, and its run has none; identify needs --threshold" in out
    with pytest.raises(ValueError, match="mine: found no threshold to tell known from unknown by"):
        identify(["mine", "photos/class 0/0.png"])
    with pytest.raises(ValueError, match=r"mine: found vectors of other .*expected those of efficientnet_lite0"):
        index(["photos", "--out", "mine", "--model", "efficientnet_lite0"])


def test_images_that_cannot_be_read(tmp_path, capsys):
    for number in range(2):
        (tmp_path / "photos" / "class 0" / f"bad\x1b[2J{number}.png").write_bytes(b"no")
    index(["photos"])
    out, error = capsys.readouterr()
    assert "WARNING: 2 images could not be read and are not in the index (named above)" in out
    assert r"bad\x1b[2J0.png: found no readable image" in error
    assert "\x1b" not in out + error
    with pytest.raises(ValueError, match="found no readable image"):
        index(["photos", "--on-error", "raise"])


def test_forms_of_what_was_found(tmp_path, capsys):
    photo(tmp_path / "photos" / "=a,<b>" / "x.png", (9, 9, 9))
    index(["photos"])
    capsys.readouterr()
    query = ["photos.index", "photos/=a,<b>/x.png", "photos/class 1/1.png", "--k", "3"]
    search([*query, "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert [each["image"] for each in found["queries"]] == query[1:3]
    first = found["queries"][0]["neighbours"]
    assert (first[0]["label"], first[0]["same"], len(first)) == ("=a,<b>", True, 4)
    assert first[0]["path"] == str((tmp_path / "photos" / "=a,<b>" / "x.png").resolve())
    search([*query, "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["label"].removeprefix("'") for row in rows[:4]] == [each["label"] for each in first]
    assert (rows[0]["label"], rows[0]["name"]) == ("'=a,<b>", "./=a,<b>/x.png")  # no formula
    for out, start in (("a.json", "{"), ("a.csv", "image,rank"), ("a.html", "<!doctype html>"), ("a.txt", "photos/=a")):
        search([*query, "--out", out])
        assert (tmp_path / out).read_text().startswith(start)
        assert f"2 images searched for: {out}" in capsys.readouterr().out
    search([*query, "--format", "html"])
    assert "&lt;b&gt;" in (tmp_path / "search.html").read_text()
    search(["photos.index", "photos/class 1", "--k", "1"])
    assert capsys.readouterr().out.count("the same file") == 5


def test_an_image_that_cannot_be_read_is_skipped_among_several(tmp_path, capsys):
    index(["photos"])
    (tmp_path / "bad.png").write_bytes(b"no")
    query = ["photos.index", "bad.png", "photos/class 1/1.png"]
    capsys.readouterr()
    search([*query, "--format", "json"])
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert [each["image"] for each in found["queries"]] == query[2:]
    assert [each["image"] for each in found["skipped"]] == query[1:2]
    assert "skipped: bad.png: found no readable image" in error
    identify([*query, "--threshold", "1"])
    assert capsys.readouterr().out.count("similarity") == 1
    with pytest.raises(DataError, match="found 2 images of which none can be read"):
        search(["photos.index", "bad.png", "bad.png"])


def test_nothing_is_made_where_there_is_no_image(tmp_path):
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    for photos_there in ("empty", "nowhere"):
        with pytest.raises(DataError):
            index([photos_there, "--model", "other"])
    assert sorted(tmp_path.iterdir()) == before


def test_verify(capsys):
    verify(["photos/class 0/0.png", "photos/class 0/1.png"])
    assert "efficientnet_lite0 has no threshold to tell same from different by" in capsys.readouterr().out
    verify(["photos/class 0/0.png", "photos/class 0/0.png", "--threshold", "0.9"])
    assert capsys.readouterr().out.startswith("same (similarity 1.000, threshold 0.900); a threshold of your own")
    verify(["photos/class 0/0.png", "photos/class 1/0.png", "--threshold", "1", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["same"] is False
    index(["photos"])
    capsys.readouterr()
    verify(["photos/class 0/0.png", "photos/class 0/0.png", "--index", "photos.index", "--far", "0.01"])
    assert "pairs of different classes are taken for one, on 6 classes" in capsys.readouterr().out


BAD = [
    (index, ["nowhere"], "nowhere: found nothing, expected a folder of images"),
    (index, ["empty"], "empty: found no image"),
    (index, ["photos", "--out", "photos"], "--out: found photos, the folder of the images"),
    (index, ["photos", "--out", "other"], "other: found a folder with other files"),
    (index, ["photos", "--out", "file"], "file: found "),
    (index, ["photos", "--run", "r", "--model", "m"], "--model: found with --run"),
    (index, ["photos", "--out", "r", "--store", "m"], "--store: found with --out"),
    (index, ["photos", "--run", "gone"], "gone: found no such folder or file"),
    (search, ["nowhere", "photos/class 0/0.png"], "nowhere: no such folder, expected an index"),
    (
        search,
        ["photos", "photos/class 0/0.png"],
        "photos: found no circlet-vectors.json, expected the folder",
    ),
    (search, ["made", "nowhere.jpg"], "nowhere.jpg: found nothing, expected an image"),
    (search, ["made", "file"], "file: found no readable image"),
    (search, ["made", "photos/class 0/0.png", "--k", "0"], "k: found 0, expected a whole number of at least 1"),
    (search, ["made", "photos/class 0/0.png", "--out", "nowhere/a.html"], "found no place to write a file"),
    (search, ["made", "photos/class 0/0.png", "--model", "other"], "made: found vectors of efficientnet_lite0"),
    (search, ["made"], "IMAGE: found none"),
    (identify, ["made", "photos/class 0/0.png", "--fpir", "0"], "fpir: found"),
    (identify, ["made", "photos/class 0/0.png", "--threshold", "2"], "threshold: found 2"),
    (verify, ["nowhere.jpg", "photos/class 0/0.png"], "nowhere.jpg: found nothing"),
    (verify, ["file", "file", "--index", "made", "--model", "other"], "--index: found with --run or --model"),
    (verify, ["photos/class 0/0.png"] * 2 + ["--index", "made", "--far", "0.5"], "far: found 0.5, expected one that a"),
    (verify, ["photos", "photos/class 0/0.png"], "first: found 30 images, expected one"),
]


@pytest.fixture
def made(tmp_path):
    Index.build(tiny_model(0, name="efficientnet_lite0", trained=False), "photos", location="made").close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    for name in ("other/file", "file"):
        (tmp_path / name).write_text("something else")


@pytest.mark.parametrize(("verb", "arguments", "message"), BAD, ids=[" ".join(each[1]) for each in BAD])
def test_what_is_wrong_is_one_line(verb, arguments, message, made):
    with pytest.raises((ValueError, OSError)) as found:
        verb(arguments)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_a_truncated_index_is_told(made, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "made").iterdir() if path.stat().st_size > 8}
    for path, content in before.items():
        path.write_bytes(content[: len(content) // 2])
        if path.suffix != ".records":  # a cut at the end of the journal may be that of a kill
            with pytest.raises((ValueError, OSError)) as found:
                search(["made", "photos/class 0/0.png"])
            assert str(path.name) in str(found.value)
            assert "\n" not in str(found.value)
        path.write_bytes(content)


def test_an_index_that_another_process_writes(made, tmp_path, capsys):
    with Index.open("made") as held:
        with pytest.raises((OSError, ValueError)) as found:
            index(["photos", "--out", "made"])
        assert isinstance(found.value, FolderInUse)
        search(["made", "photos/class 0/0.png"])  # to read it is no matter
        assert "the same file" in capsys.readouterr().out
        assert len(held) == 30
