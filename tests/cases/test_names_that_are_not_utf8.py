"""File names are any bytes: those that are not UTF-8 are used as they are, stored escaped, and never printed raw."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from circlet.cli import main
from circlet.data import every_image
from circlet.data.embedding_table import write_embeddings
from circlet.files import write_text
from circlet.terminal import printable, storable

SMALL = ["--steps", "2", "--data.size", "10", "10", "--model.size", "8", "8", "--batch.classes", "2", "--batch.samples",
         "2", "--loop.precision", "fp32", "--data.channels", "1", "--model.mean", "0.5", "--model.std", "0.5",
         "--data.validation-share", "0", "--device", "cpu"]  # fmt: skip
HOSTILE = "a\x1b[2Jb\nc\u202e"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four classes of three images; folders and files of one in Latin-1, one name that clears the screen."""
    root = tmp_path_factory.mktemp("photos")
    for number, name in enumerate([b"caf\xe9", b"tea", b"water", HOSTILE.encode()]):
        folder = os.path.join(os.fsencode(root), name)
        os.mkdir(folder)
        for i in range(3):
            with open(os.path.join(folder, b"%d\xfc.png" % i), "wb") as file:
                Image.new("L", (12, 12), 60 * number + i).save(file, "png")
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / os.fsdecode(b"r\xfcn")
    assert main(["train", "scratch", "--root", str(photos), "--run-dir", str(path), *SMALL]) == 0
    return path


def test_a_run_on_such_images_leaves_its_report_and_goes_on(run, capsys):
    assert "found nothing" not in (run / "report.html").read_text(encoding="utf-8")
    json.loads((run / "splits.json").read_text(encoding="utf-8"))
    assert main(["train", "--resume", str(run), "--device", "cpu", "--no-report"]) == 0
    out = capsys.readouterr().out
    assert "r\\xfcn" in out
    assert "\x1b" not in out


def test_embeddings_of_such_images_are_stored_under_escaped_names(run, photos, tmp_path, capsys):
    assert main(["embed", str(run), str(photos), "--out", str(tmp_path / "e")]) == 0
    names = pyarrow.parquet.read_table(tmp_path / "e.parquet")["path"].to_pylist()
    assert len(names) == len(np.load(tmp_path / "e.npy")) == 12
    assert "caf\\xe9/0\\xfc.png" in names


def test_a_broken_image_with_such_a_name_is_listed(run, tmp_path, capsys):
    folder = tmp_path / "x"
    folder.mkdir()
    Image.new("L", (12, 12)).save(folder / "good.png")
    Path(os.path.join(folder, os.fsdecode(b"bad\xff\x1b.png"))).write_bytes(b"no image")
    assert main(["embed", str(run), str(folder), "--out", str(tmp_path / "e"), "--on-error", "skip"]) == 0
    assert "skipped bad\\xff\\x1b.png: " in capsys.readouterr().out


def test_two_classes_whose_stored_names_are_one_are_refused(tmp_path):
    for name in (b"caf\xe9", b"caf\\xe9"):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        Image.new("L", (4, 4)).save(os.path.join(os.fsdecode(folder), "1.png"))
    with pytest.raises(ValueError, match="class_names: found only 1 distinct of 2"):
        every_image(tmp_path)


def test_embeddings_are_written_both_or_neither(tmp_path, photos, monkeypatch):
    images = every_image(photos)
    for suffix in ("npy", "parquet"):
        (tmp_path / f"e.{suffix}").write_bytes(b"old")
    rows = np.zeros((len(images), 2), dtype=np.float32)

    def fails(*arguments):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pyarrow.parquet, "write_table", fails)
        with pytest.raises(OSError, match=r"e\.parquet: could not be written"):
            write_embeddings(tmp_path / "e", images, rows)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"e.npy": b"old", "e.parquet": b"old"}
    write_embeddings(tmp_path / "e", images, rows)
    assert len(np.load(tmp_path / "e.npy")) == pyarrow.parquet.read_metadata(tmp_path / "e.parquet").num_rows == 12


def test_an_output_that_cannot_be_written_is_found_before_the_work(tmp_path, capsys):
    (tmp_path / "e.parquet").mkdir()
    assert main(["embed", "no run at all", "--out", str(tmp_path / "e")]) == 1
    assert "e.parquet: found a folder, expected a file or nothing (--out)" in capsys.readouterr().err


def test_escape_sequences_of_a_name_do_not_reach_the_terminal(capsys, tmp_path):
    assert main(["train", "folder", "--root", str(tmp_path / HOSTILE)]) == 1
    err = capsys.readouterr().err
    assert "a\\x1b[2Jb\\nc\\u202e" in err
    assert err.count("\n") == 1


def test_a_text_file_takes_any_path(tmp_path):
    write_text(tmp_path / "a.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9"


@pytest.mark.parametrize("text", ["naïve café 漢字 👩\u200d🔬", "plain", "no\u00a0break"])
def test_what_is_text_stays_as_it_is(text):
    assert printable(text) == storable(text) == text
