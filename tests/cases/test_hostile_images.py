"""Files that stand where an image should: what they are not, what they would start, and how much they ask for."""

import contextlib
import os
import socket
import struct
import threading
import zlib
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from circlet.data import DataError, FileReader, ImageSet, content_digest, decode, decode_all
from circlet.data.boxes import BoxReader
from circlet.data.depth import averageable
from circlet.data.large import LARGE, reduced, turn_of
from circlet.data.open_image import FORMATS, open_image
from circlet.data.pixels import Decoding, load_pixels
from tests.fuzz.guard import guarded

module = import_module("circlet.data.decode")


def at(path):
    return ImageSet.from_classes(["c"], [path.name], FileReader(str(path.parent), (path.name,)))


def png(path, width, height, rows=b""):
    """Of grey pixels, with those rows, packed."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return at(path)


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "f.png")
    images = at(tmp_path / "f.png")
    with guarded():
        for read in (lambda: decode(images, 0, size=(8, 8)), lambda: content_digest(images, 0)):
            with pytest.raises(DataError, match=r"f\.png: .*found a named pipe, expected a regular file"):
                read()
        assert len(decode_all(images, size=(8, 8), on_error="skip").broken) == 1


def test_devices_sockets_and_folders_are_no_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.png")
    for kind in ("device", "folder", "socket"):
        with guarded(), pytest.raises(DataError, match=f"{kind}.png: .*found a {kind}, expected a regular file"):
            decode(at(tmp_path / f"{kind}.png"), 0, size=(8, 8))


def test_postscript_under_the_name_of_a_png_starts_nothing(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    def started(*_, **__):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    monkeypatch.setattr(EpsImagePlugin.subprocess, "check_call", started)
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n%%EOF\n")
    with pytest.raises(DataError, match=r"a\.png: .*expected one of JPEG, PNG"):
        decode(at(tmp_path / "a.png"), 0, size=(8, 8))


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA", "PDF", "EPS", "SGI"])
def test_other_formats_are_not_read_under_any_name(tmp_path, kind):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg", kind)
    with pytest.raises(DataError, match=r"a\.jpg: found no readable image .ValueError: found another format"):
        decode(at(tmp_path / "a.jpg"), 0, size=(8, 8))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_listed_format_is_read_under_any_name(tmp_path, kind):
    from PIL import features

    codec = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}.get(kind)
    if codec and not features.check(codec):
        pytest.skip(f"this Pillow has no {kind}")
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "a.png", kind)
    found = decode(at(tmp_path / "a.png"), 0, size=(1, 1)).ravel().astype(int)
    assert np.abs(found - (200, 100, 50)).max() <= 6
    assert open_image((tmp_path / "a.png").read_bytes()).format == kind


def test_heic_is_told_by_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(DataError, match=r"a\.jpg: .*found HEIC, expected one of JPEG"):
        decode(at(tmp_path / "a.jpg"), 0, size=(8, 8))


def test_a_long_line_of_ink_takes_little_memory(tmp_path):
    Image.new("L", (20, 33_304)).save(tmp_path / "a.jpg")
    with guarded():
        found = decode(at(tmp_path / "a.jpg"), 0, size=(48, 48), channels=1, fit="ink")[0]
        assert decode(at(tmp_path / "a.jpg"), 0, size=(1, 1), channels=3, fit="ink").shape == (3, 1, 1)
    line = 255.0 - found[:, 22:26].astype(float)
    assert (found[:, :22] == 255).all()
    assert line.sum() == pytest.approx(255 * 33_304 * 20 * (48 / _side_of_ink(20, 33_304)) ** 2, rel=0.3)


def _side_of_ink(width, height):
    return 2 * np.sqrt((width**2 + height**2) / 12 / 2) / 0.38


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad", "ink"])
def test_a_line_of_40000_pixels_is_decoded(tmp_path, fit):
    with guarded():
        for width, height in ((40_000, 1), (1, 40_000)):
            Image.new("L", (width, height)).save(tmp_path / "a.png")
            assert decode(at(tmp_path / "a.png"), 0, size=(48, 48), fit=fit).shape == (3, 48, 48)


def test_reducing_before_ink_is_cut_out_changes_little(monkeypatch):
    pixels = np.full((300, 200), 255, np.uint8)
    pixels[80:250, 90:120] = 30
    image = Image.fromarray(pixels)
    plain, box = module._around_ink(image, 16)
    expected = np.asarray(plain.resize((16, 16), Image.Resampling.BICUBIC, box, reducing_gap=2.0)).astype(int)
    monkeypatch.setattr(module, "_CANVAS", 1)
    small, box = module._around_ink(image, 16)
    assert small.width < plain.width / 2
    found = np.asarray(small.resize((16, 16), Image.Resampling.BICUBIC, box, reducing_gap=2.0)).astype(int)
    assert np.abs(found - expected).max() <= 12


def test_photographs_of_108_megapixels_are_read_at_reduced_size(tmp_path):
    Image.new("RGB", (12_000, 9_000), (200, 100, 50)).save(tmp_path / "a.jpg")
    with guarded():
        found = decode(at(tmp_path / "a.jpg"), 0, size=(8, 8))
    assert np.abs(found.reshape(3, -1).T.astype(int) - (200, 100, 50)).max() <= 3


def test_the_limit_of_megapixels_is_an_option(tmp_path):
    images = png(tmp_path / "a.png", 16_001, 16_000)
    message = (
        r"a\.png: found 16001 x 16000 pixels \(256.0 megapixels\), expected at most 256 megapixels "
        r"\(--data.max-megapixels 256\)"
    )
    with pytest.raises(DataError, match=message):
        decode(images, 0, size=(8, 8))
    Image.new("L", (40, 30)).save(tmp_path / "b.png")
    images = at(tmp_path / "b.png")
    assert decode(images, 0, size=(8, 8), max_megapixels=0.0012).shape == (3, 8, 8)
    with pytest.raises(DataError, match=r"expected at most 0.0011 megapixels"):
        decode(images, 0, size=(8, 8), max_megapixels=0.0011)
    for in_memory in (True, False):
        decoding = Decoding((8, 8), in_memory=in_memory, on_error="skip", max_megapixels=0.0011)
        assert "max-megapixels" in load_pixels(images, decoding).broken[0][1]


def test_pillows_own_limit_stays_as_it_is(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    images = png(tmp_path / "a.png", 15_000, 15_000)  # of no pixels, and above what `Image.open` refuses
    with pytest.raises(DataError, match=r"truncated|broken"):
        decode(images, 0, size=(8, 8))
    assert before == Image.MAX_IMAGE_PIXELS


def test_memory_that_does_not_suffice_is_the_fault_of_a_large_image_alone(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(module, "_upright", fail)
    with pytest.raises(DataError, match=r"a\.png: found 225.0 megapixels, for which the memory does not suffice"):
        decode(png(tmp_path / "a.png", 15_000, 15_000), 0, size=(8, 8))
    with pytest.raises(MemoryError):
        decode(png(tmp_path / "a.png", 1_000, 1_000), 0, size=(8, 8))


@pytest.mark.parametrize("factor", [1, 2, 5])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "1", "LA"])
def test_strips_give_the_same_pixels_as_the_whole(mode, factor, monkeypatch):
    monkeypatch.setattr("circlet.data.large._STRIP", 70)
    pixels = np.random.default_rng(0).integers(0, 256, (23, 17, 4), dtype=np.uint8)
    whole = Image.fromarray(pixels).convert(mode) if mode != "I;16" else Image.fromarray(pixels[..., 0].astype("u2"))

    def convert(image):
        return image.convert("L")

    assert reduced(whole, factor, convert).tobytes() == convert(whole).reduce(factor).tobytes()


@pytest.mark.parametrize("mode", ["1", "P", "I;16", "L", "RGB", "RGBA", "LA", "CMYK", "F"])
def test_a_large_box_of_any_mode_is_halved(mode, tmp_path, monkeypatch):
    monkeypatch.setattr("circlet.data.boxes.LARGE", 20)
    monkeypatch.setattr("circlet.data.large._STRIP", 30)
    pixels = np.random.default_rng(0).integers(0, 256, (23, 17, 4), dtype=np.uint8)
    grey = Image.fromarray(pixels[..., 0] * np.uint16(256))
    (grey if mode == "I;16" else Image.fromarray(pixels).convert(mode)).save(tmp_path / "a.tif")
    reader = BoxReader(FileReader(str(tmp_path), ("a.tif",)), np.array([[2.0, 1.0, 13.0, 20.0]]), str)
    with open_image(tmp_path / "a.tif") as whole:
        assert whole.mode == mode
        part = averageable(whole.crop((2, 1, 15, 21))).reduce(2)
    assert np.array_equal(np.asarray(reader(0)), np.asarray(part))


def test_a_sparse_file_of_100_gb_is_not_read_to_tell_its_content(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(100 << 30)
    with guarded(), pytest.raises(DataError, match=r"a\.jpg: .*found 100.0 GiB, expected .* at most 2 GiB"):
        content_digest(at(tmp_path / "a.jpg"), 0)


def test_what_a_reader_says_of_an_image_is_not_said_twice():
    def read(index):
        raise DataError("train.rec, record 5: found nothing, expected an image")

    images = ImageSet.from_classes(["c"], ["train.rec/5"], read)
    for reading in (lambda: decode(images, 0, size=(8, 8)), lambda: content_digest(images, 0)):
        with pytest.raises(DataError, match=r"^train.rec, record 5: found nothing, expected an image$"):
            reading()


def test_large_images_take_turns():
    large, small = (LARGE, 1), (LARGE - 1, 1)
    seen = []

    def enter(size):
        with turn_of(size):
            seen.append(size)

    with turn_of(large):
        threads = [threading.Thread(target=enter, args=(size,)) for size in (large, small)]
        for thread in threads:
            thread.start()
        threads[1].join()
        assert seen == [small]
    threads[0].join()
    assert seen == [small, large]


def test_a_bitmap_packed_by_run_lengths_is_not_unpacked_for_minutes(tmp_path):
    header = b"BM" + struct.pack("<IHHI", 1200, 0, 0, 1078)
    header += struct.pack("<IiiHHIIiiII", 40, 5_832_734, 40, 1, 8, 1, 100, 0, 0, 256, 256)
    (tmp_path / "a.bmp").write_bytes(header + bytes(1024) + b"\0\0" * 40)
    with guarded(), pytest.raises(DataError, match=r"a\.bmp: .*at most 4 megapixels, the limit by 64 for bmp_rle"):
        decode(at(tmp_path / "a.bmp"), 0, size=(8, 8))


@pytest.mark.parametrize("suffix", ["png", "jp2", "webp", "gif"])
def test_lengths_that_a_file_claims_take_no_memory(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    for place in range(min(len(content), 120)):
        claimed = content[:place] + b"\xff\xff\xff\xf0" + content[place + 4 :]
        (tmp_path / f"a.{suffix}").write_bytes(claimed)
        with guarded(), contextlib.suppress(DataError):
            decode(at(tmp_path / f"a.{suffix}"), 0, size=(8, 8))
