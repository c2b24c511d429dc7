"""No folder and no file of a data set vanishes without a word: it is read, it is an error, or it is told of."""

import contextlib
import errno
import os
import shutil

import pytest
from PIL import Image

from circlet.data import DataError, decode, image_folder
from circlet.data.every_image import every_image, images_to_test
from circlet.data.signatures import NUM_BYTES, SUFFIXES, UNREAD, raster_format, reads_avif

OPENERS = [image_folder, every_image, images_to_test]


def put(root, *paths, form=None):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(path), 0, 0)).save(file, form)


@pytest.fixture
def photos(tmp_path):
    put(tmp_path, "ant/1.png", "bee/1.png", "cat/1.png")
    return tmp_path


def names_of(root):
    return set(every_image(root).names)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("midway", [False, True])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENAMETOOLONG])
def test_a_class_folder_that_cannot_be_listed_is_an_error(photos, monkeypatch, opener, midway, number):
    scandir, bad = os.scandir, str(photos / "bee")

    @contextlib.contextmanager
    def listed(path):
        def entries():
            for entry in found:
                yield entry
                if str(path) == bad:
                    raise OSError(number, os.strerror(number), path)

        if str(path) == bad and not midway:
            raise OSError(number, os.strerror(number), path)
        with scandir(path) as found:
            yield entries()

    monkeypatch.setattr(os, "scandir", listed)
    with pytest.raises(DataError) as error:
        opener(photos)
    assert str(error.value).startswith(f"{bad}: found a folder that cannot be listed ({os.strerror(number)}), expected")


@pytest.mark.parametrize("opener", OPENERS)
def test_a_path_beyond_the_limit_is_an_error(photos, monkeypatch, opener):
    monkeypatch.chdir(photos / "bee")
    try:
        for _ in range(20):
            os.mkdir("n" * 250)
            os.chdir("n" * 250)
        with pytest.raises(
            DataError, match=r"bee/nn.*found a folder that cannot be listed \(File name too long\)"
        ) as error:
            opener(photos)
        assert len(str(error.value)) < 500
    finally:
        os.chdir(photos)
        shutil.rmtree(photos / "bee")


@pytest.mark.parametrize("opener", OPENERS)
def test_a_root_beyond_the_limit_is_an_error(tmp_path, opener):
    with pytest.raises(DataError, match="File name too long"):
        opener(tmp_path / ("n" * 300))


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("name", ["dog", "dog.1"])
def test_a_link_to_a_folder_that_is_gone_is_an_error(photos, opener, name):
    (photos / name).symlink_to(photos / "nowhere")
    with pytest.raises(DataError, match=rf"{name}: found a link to .*nowhere, where nothing is \(1 such links"):
        opener(photos)


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("where", ["loop", "ant/loop"])
def test_a_link_to_itself_is_an_error(photos, opener, where):
    (photos / where).symlink_to(photos / where)
    with pytest.raises(DataError, match="loop: found a link to"):
        opener(photos)


@pytest.mark.parametrize("opener", [image_folder, images_to_test])
def test_a_link_to_nothing_beside_split_folders_is_an_error(tmp_path, opener):
    put(tmp_path, "train/ant/1.png", "test/bee/1.png")
    (tmp_path / "query").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"query: found a link to .*, where nothing is"):
        opener(tmp_path)


def test_a_link_to_an_image_that_is_gone_is_a_missing_image(photos):
    (photos / "ant" / "2.png").symlink_to(photos / "nowhere.png")
    images = every_image(photos)
    with pytest.raises(DataError, match=r"2\.png"):
        decode(images, images.names.index("ant/2.png"), size=(4, 4))


@pytest.mark.parametrize("opener", OPENERS)
def test_files_passed_over_are_counted_by_suffix(photos, capsys, opener):
    for i, suffix in enumerate([".HEIC"] * 5 + [".txt"] * 3):
        (photos / "ant" / f"{i}{suffix}").write_bytes(b"")
    opener(photos)
    assert capsys.readouterr().err == (
        f"warning: {photos}: 8 files passed over: .heic (5), .txt (3); HEIC is not read: convert it to JPEG\n"
    )


@pytest.mark.parametrize("opener", OPENERS)
def test_companions_and_hidden_files_are_not_told_of(photos, capsys, opener):
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.png", "Icon\r"):
        (photos / "ant" / name).write_bytes(b"")
    put(photos, "ant/@eaDir/1.png", "__MACOSX/ant/1.png", "@eaDir/1.png")
    assert len(opener(photos).query if opener is not every_image else opener(photos)) <= 3
    assert capsys.readouterr().err == ""


def test_a_class_folder_of_files_that_are_not_read_is_an_error_that_says_which(photos):
    shutil.rmtree(photos / "bee")
    (photos / "bee").mkdir()
    (photos / "bee" / "1.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"bee: found a class folder without an image \(1 other files\): .heic \(1\)"):
        image_folder(photos)


def test_a_folder_to_embed_whose_files_are_not_read_is_named(photos, capsys):
    (photos / "dog").mkdir()
    (photos / "dog" / "1.cr2").write_bytes(b"II*\0")
    assert names_of(photos) == {"ant/1.png", "bee/1.png", "cat/1.png"}
    assert f"1 file passed over: .cr2 (1); no image beside them in {photos / 'dog'}" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("name", ["IMG_0001", "scan.0001", "photo.image"])
def test_images_without_a_telling_suffix_are_read_by_content(photos, capsys, form, name):
    if form == "AVIF" and not reads_avif():
        pytest.skip("this Pillow reads no AVIF")
    put(photos, f"ant/{name}", form=form)
    images = every_image(photos)
    assert decode(images, images.names.index(f"ant/{name}"), size=(4, 4)).shape == (3, 4, 4)
    kind = ".image" if name == "photo.image" else ".0001" if name == "scan.0001" else "without a suffix"
    assert capsys.readouterr().err == f"{photos}: 1 file taken for an image by the content alone: {kind} (1)\n"


@pytest.mark.parametrize("name", ["1.jpg_original", "1.jpg~", "1~", "1.jpg.bak", "1.orig", "1.3FR", "1.fff", "1.part"])
def test_backups_and_raw_files_are_no_images(photos, capsys, name):
    put(photos, f"ant/{name}", form="TIFF")
    assert names_of(photos) == {"ant/1.png", "bee/1.png", "cat/1.png"}
    assert "1 file passed over" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_that_is_taken_can_be_read(photos, suffix):
    if suffix == ".avif" and not reads_avif():
        pytest.skip("this Pillow reads no AVIF")
    put(photos, f"ant/2{suffix.upper()}")
    images = every_image(photos)
    assert decode(images, images.names.index(f"ant/2{suffix.upper()}"), size=(4, 4), channels=1).shape == (1, 4, 4)


def test_a_pillow_without_avif_passes_it_over_and_says_so(photos, capsys, monkeypatch):
    monkeypatch.setattr("circlet.data.walk.reads_avif", lambda: False)
    (photos / "ant" / "2.avif").write_bytes(b"")
    (photos / "ant" / "3").write_bytes(b"\0\0\0 ftypavif\0\0\0\0avifmif1")
    assert len(every_image(photos)) == 3
    said = capsys.readouterr().err
    assert "2 files passed over: .avif (1), AVIF (1); AVIF is read by Pillow from 11.3 on" in said


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"BM, the initials of a text",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"RIFF....WAVEfmt ",
        b"<svg>",
        b"\0\0\0\x18ftypmp42",
    ],
)
def test_what_is_no_raster_image_is_not_taken_for_one(photos, capsys, content):
    (photos / "ant" / "other").write_bytes(content)
    assert len(every_image(photos)) == 3
    assert "1 file passed over: without a suffix (1)" in capsys.readouterr().err


def test_heic_without_a_suffix_is_named(photos, capsys):
    (photos / "ant" / "IMG_1").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert len(every_image(photos)) == 3
    assert "1 file passed over: HEIC (1); HEIC is not read" in capsys.readouterr().err


def test_files_that_are_known_to_be_others_are_not_opened(photos, monkeypatch):
    assert not SUFFIXES & UNREAD
    for suffix in (".nef", ".json", ".txt"):
        (photos / "ant" / f"1{suffix}").write_bytes(b"II*\0" + bytes(NUM_BYTES))
    monkeypatch.setattr("builtins.open", lambda *_args, **_more: pytest.fail("opened"))
    assert len(every_image(photos)) == 3


def test_a_pipe_without_a_suffix_is_passed_over_and_not_waited_for(photos, capsys):
    os.mkfifo(photos / "ant" / "pipe")
    assert len(every_image(photos)) == 3
    assert "without a suffix (1)" in capsys.readouterr().err


def test_a_file_without_a_suffix_that_cannot_be_opened_is_told_of(photos, capsys, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    put(photos, "ant/2", form="PNG")
    monkeypatch.setattr("circlet.data.walk.open_regular", refuse)
    assert len(every_image(photos)) == 3
    assert "1 file passed over: unreadable (1)" in capsys.readouterr().err


def test_a_link_out_of_the_root_is_never_opened(photos, tmp_path_factory, capsys):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    put(outside.parent, "secret", form="PNG")
    (photos / "ant" / "secret").symlink_to(outside)
    assert len(every_image(photos)) == 3
    assert "without a suffix (1)" in capsys.readouterr().err


def test_suffixes_that_a_terminal_would_obey_are_not_printed(photos, capsys):
    (photos / "ant" / "1.\x1b[2J").write_bytes(b"")
    (photos / "ant" / "Mr. Smith in the garden").write_bytes(b"")
    every_image(photos)
    assert "2 files passed over: without a suffix (2)" in capsys.readouterr().err


def test_nothing_but_files_that_are_not_read(tmp_path):
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "1.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"found no image \(1 other files\): .heic \(1\), expected at least one"):
        every_image(tmp_path)


@pytest.mark.parametrize("form", ["PPM", "TGA", "PCX", "ICO"])
def test_formats_that_are_not_listed_have_no_signature(tmp_path, form):
    put(tmp_path, "1", form=form)
    assert raster_format((tmp_path / "1").read_bytes()[:NUM_BYTES]) is None
