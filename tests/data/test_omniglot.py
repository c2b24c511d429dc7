import importlib
import io
import multiprocessing
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from circlet.data import DataError, omniglot
from circlet.download import sha256_of
from tests.web import serve

module = importlib.import_module("circlet.data.omniglot")

REAL = Path(os.environ.get("CIRCLET_OMNIGLOT") or Path(__file__).parents[2].parent / "shared" / "data" / "omniglot")
ALPHABETS = {module.SMALL1.name: ("Greek", "Korean"), module.SMALL2.name: ("Greek", "Tagalog", "Sanskrit")}


def png(value):
    file = io.BytesIO()
    Image.new("1", (105, 105), value).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two small archives in the official form, with their checksums made official; and a hostile member in each."""
    for attribute in ("SMALL1", "SMALL2"):
        archive = getattr(module, attribute)
        path = tmp_path / "source" / f"{archive.name}.zip"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as file:
            for alphabet in ALPHABETS[archive.name]:
                for character in (1, 2):
                    for person in (1, 2, 3):
                        name = f"{archive.name}/{alphabet}/character{character:02d}/{character:04d}_{person:02d}.png"
                        file.writestr(name, png(person % 2))
            file.writestr("../escaped.png", png(1))
            file.writestr(f"{archive.name}/../../escaped/character01/0001_01.png", png(1))
        sha256 = sha256_of(path)
        num_images = 6 * len(ALPHABETS[archive.name])
        monkeypatch.setattr(
            module, attribute, archive._replace(sha256=sha256, num_images=num_images, alphabets=ALPHABETS[archive.name])
        )
    return tmp_path / "source"


def check(splits):
    assert splits.train.class_names == tuple(f"{a}/character0{c}" for a in ("Greek", "Korean") for c in (1, 2))
    assert splits.query.class_names == tuple(f"{a}/character0{c}" for a in ("Sanskrit", "Tagalog") for c in (1, 2))
    assert (len(splits.train), len(splits.query), splits.gallery) == (12, 12, None)
    assert splits.query.names[0] == "images_background_small2/Sanskrit/character01/0001_01.png"
    assert [np.asarray(splits.query.read(i)).mean() for i in range(3)] == [1, 0, 1]


def test_zips(tiny, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    check(omniglot(tiny))
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked, hostile names least of all
    (tmp_path / "repository").mkdir()
    tiny.rename(tmp_path / "repository" / "python")
    check(omniglot(str(tmp_path / "repository")))


def test_folders(tiny, tmp_path):
    for archive in tiny.iterdir():
        with zipfile.ZipFile(archive) as file:
            file.extractall(tmp_path / "out", [name for name in file.namelist() if ".." not in name])
    check(omniglot(tmp_path / "out"))
    (tmp_path / "out" / module.SMALL2.name / "Tagalog" / "character01" / "0001_01.png").unlink()
    with pytest.raises(DataError, match=r"found 17 images .* expected 18"):
        omniglot(tmp_path / "out")


def test_wrong_checksum_and_no_zip(tiny):
    path = tiny / f"{module.SMALL2.name}.zip"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"small2.zip: found SHA-256 [0-9a-f]{64}, expected"):
        omniglot(tiny)
    path.unlink()
    with pytest.raises(DataError, match=r"found neither images_background_small2[.]zip"):
        omniglot(tiny)


def test_checksum_of_no_zip(tiny, monkeypatch):
    path = tiny / f"{module.SMALL1.name}.zip"
    path.write_text("text")
    monkeypatch.setattr(module, "SMALL1", module.SMALL1._replace(sha256=sha256_of(path)))
    with pytest.raises(DataError, match="found no zip archive"):
        omniglot(tiny)


def test_download_into_cache(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "URL", "https://web/{name}.zip")
    serve(tiny, monkeypatch)
    check(omniglot())
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(p.name for p in tiny.iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in (tmp_path / "cache").iterdir())  # others may read them
    for archive in tiny.iterdir():
        archive.unlink()
    check(omniglot())  # from the cache, without the source


def test_download_failures_leave_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("CIRCLET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "URL", "https://web/{name}.zip")
    serve(tmp_path / "none", monkeypatch)
    with pytest.raises(DataError, match=r"the download failed .*--root"):
        omniglot()
    assert list((tmp_path / "cache").iterdir()) == []
    (tiny / f"{module.SMALL1.name}.zip").write_text("half a file")
    serve(tiny, monkeypatch)
    with pytest.raises(DataError, match=r"found a file with SHA-256 .*--root"):
        omniglot()
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.subprocess
def test_reader_survives_pickling_and_spawn(tiny):
    train = omniglot(tiny).train
    expected = [np.asarray(train.read(i)).mean() for i in range(6)]
    copy = pickle.loads(pickle.dumps(train))
    assert [np.asarray(copy.read(i)).mean() for i in range(6)] == expected
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        images = pool.map(train.read, range(6))
        pool.close()
        pool.join()
    assert [np.asarray(image).mean() for image in images] == expected


@pytest.mark.skipif(not REAL.is_dir(), reason="no copy of Omniglot; set CIRCLET_OMNIGLOT")
def test_real_archives():
    splits = omniglot(REAL)
    assert (len(splits.train), splits.train.num_classes) == (2720, 136)
    assert (len(splits.query), splits.query.num_classes) == (2120, 106)
    assert {name.split("/")[0] for name in splits.query.class_names} == {"Japanese_(katakana)", "Sanskrit", "Tagalog"}
    assert np.bincount(splits.train.labels).tolist() == [20] * 136
    assert splits.query.read(0).size == (105, 105)
