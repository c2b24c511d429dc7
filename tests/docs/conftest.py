"""A folder like the one that the pages speak of: photos, a query, indexes of them."""

import contextlib
import io
import os

import pytest
from PIL import Image

from circlet.cli import main

CLASSES = ("ant", "bee", "cat", "dog")


def photo(path, seed):
    """A small picture of noise and a colour, the same for the same seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = Image.effect_noise((64, 64), 20 + 11 * seed).convert("RGB")
    Image.blend(noise, Image.new("RGB", (64, 64), (37 * seed % 255, 91 * seed % 255, 151 * seed % 255)), 0.5).save(path)


def run(*words):
    """What `circlet WORDS` prints, standard error and all."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        main(list(words))
    return out.getvalue()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder; its indexes are by the network that comes with the installation."""
    folder = tmp_path_factory.mktemp("pages")
    for number, name in enumerate(CLASSES):
        for each in range(1, 3):
            photo(folder / "photos" / name / f"{each}.jpg", 2 * number + each)
    for number in range(3):
        photo(folder / "one-class" / "ant" / f"{number}.jpg", number)
        photo(folder / "plain" / f"{number}.jpg", 10 + number)
    photo(folder / "query.jpg", 1)
    (folder / "notes.txt").write_text("not an image\n", encoding="utf-8")
    before, cache = os.getcwd(), os.environ.get("CIRCLET_CACHE")
    os.environ["CIRCLET_CACHE"] = str(folder / "cache")
    os.chdir(folder)
    try:
        for name in ("photos", "plain"):
            assert "by efficientnet_lite0" in run("index", name)
    finally:
        os.chdir(before)
        os.environ.pop("CIRCLET_CACHE") if cache is None else os.environ.update(CIRCLET_CACHE=cache)
    return folder


@pytest.fixture
def in_folder(made, monkeypatch):
    """There, as a user of the pages is."""
    monkeypatch.setenv("CIRCLET_CACHE", str(made / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(made)
    return made
