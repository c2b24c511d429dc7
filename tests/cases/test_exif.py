"""EXIF data that are damaged, beside sound pixels: these are used, and what was passed over is counted."""

import io

import numpy as np
import pytest
from PIL import Image, features

from circlet.data import DataError, FileReader, ImageSet, decode, decode_all
from circlet.data.boxes import BoxReader
from circlet.data.notes import say_once
from circlet.data.pixels import Decoding, load_pixels

HEADER = b"Exif\0\0II*\0\x08\0\0\0"
TAG = b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"  # orientation 6
DAMAGED = {
    "nothing": b"Exif\0\0",
    "no header": b"Exif\0\0" + b"garbage" * 5,
    "directory beyond the end": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "cut in the directory": HEADER + b"\x05\0" + TAG[:7],
    "cut in a tag": HEADER + b"\x02\0" + b"\x0e\x01\x02\0\x40\0\0\0\xff\0\0\0" + b"\0",
    "more entries than there are": HEADER + b"\xff\xff" + TAG,
    "type that does not exist": HEADER + b"\x01\0" + b"\x12\x01\x63\0\x01\0\0\0\x06\0\0\0",
    "4 GB of a tag": HEADER + b"\x01\0" + b"\x1a\x01\x05\0\xff\xff\xff\xff\x08\0\0\0" + bytes(4),
    "resolution of text": HEADER + b"\x01\0" + b"\x1a\x01\x02\0\x04\0\0\0abcd" + bytes(4),
    "orientation 77": HEADER + b"\x01\0" + TAG[:8] + b"\x4d\0\0\0" + bytes(4),
    "orientation of text": HEADER + b"\x01\0" + b"\x12\x01\x02\0\x04\0\0\0abc\0" + bytes(4),
    "text without end": HEADER + b"\x01\0" + b"\x0e\x01\x02\0\xff\xff\0\0\x1a\0\0\0" + bytes(4),
}
SOUND = HEADER + b"\x01\0" + TAG + bytes(4)
FORMATS = ["JPEG", "PNG", *(["WEBP"] if features.check("webp") else [])]


def image(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 10, 3), dtype=np.uint8))


def write(path, kind, exif=None):
    """An image with exactly these EXIF data; PNG has them without the six bytes in front."""
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    if exif is not None:
        options["exif"] = exif if kind == "JPEG" else exif[6:] or b"\0"
    image().save(path, kind, **options)


def at(*paths):
    return ImageSet.from_classes(["c"] * len(paths), [path.name for path in paths],
                                 FileReader(str(paths[0].parent), tuple(path.name for path in paths)))  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_sound_pixels_beside_damaged_exif_data_are_used(tmp_path, kind, damage):
    write(tmp_path / "plain", kind)
    write(tmp_path / "damaged", kind, DAMAGED[damage])
    write(tmp_path / "turned", kind, SOUND)  # where what is left says so
    plain, turned, damaged = (decode(at(tmp_path / name), 0, size=(6, 10)) for name in ("plain", "turned", "damaged"))
    assert any(np.array_equal(damaged, expected) for expected in (plain, turned))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_orientation_that_can_be_read_is_followed(tmp_path, kind):
    write(tmp_path / "plain", kind)
    write(tmp_path / "turned", kind, SOUND)
    rest = HEADER + b"\x02\0" + TAG + b"\x3b\x01\x02\0\x40\0\0\0\xff\xff\0\0" + bytes(4)  # artist beyond the end
    write(tmp_path / "damaged", kind, rest)
    upright = np.rot90(decode(at(tmp_path / "plain"), 0, size=(6, 10)), -1, axes=(1, 2))
    for name in ("turned", "damaged"):
        assert np.array_equal(decode(at(tmp_path / name), 0, size=(10, 6)), upright)


@pytest.mark.parametrize("kind", [*FORMATS, "TIFF"])
def test_exif_data_that_say_nothing_are_not_damaged(tmp_path, kind):
    """As tools leave them that strip tags: no block, an empty one, one of the header alone, one of no entry."""
    image().save(tmp_path / "none", kind)
    image().save(tmp_path / "saved", kind, exif=Image.Exif())
    names = ["none", "saved"]
    if kind != "TIFF":
        write(tmp_path / "no entry", kind, HEADER + bytes(6))
        names.append("no entry")
    assert decode_all(at(*(tmp_path / name for name in names)), size=(6, 6)).damaged_exif == []


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("damage", ["no header", "directory beyond the end", "cut in the directory"])
def test_exif_data_of_which_nothing_can_be_read_are_damaged(tmp_path, kind, damage):
    write(tmp_path / "a", kind, DAMAGED[damage])
    assert decode_all(at(tmp_path / "a"), size=(6, 6)).damaged_exif == ["a"]


def tiff(path, pixels, replaced=()):
    """An image whose resolution has two entries where one is expected; with other tags for some, (id, other id)."""
    pixels.save(path, "TIFF", dpi=(72, 72))
    content = bytearray(path.read_bytes())
    start = int.from_bytes(content[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(content[start : start + 2], "little"), 12):
        tag = int.from_bytes(content[entry : entry + 2], "little")
        if tag == 282:
            content[entry + 4] = 2
        if tag in dict(replaced):
            content[entry : entry + 2] = dict(replaced)[tag].to_bytes(2, "little")
    path.write_bytes(content)


def test_a_tiff_with_odd_metadata_is_read(tmp_path):
    tiff(tmp_path / "a.tif", image())
    found = decode_all(at(tmp_path / "a.tif"), size=(6, 10))
    assert np.array_equal(found.images[0].numpy().transpose(1, 2, 0), np.asarray(image()))
    assert found.damaged_exif == ["a.tif"]


def test_a_tiff_with_odd_metadata_and_without_what_its_pixels_need(tmp_path):
    tiff(tmp_path / "a.tif", image().convert("L"), [(262, 263)])  # without it, white would be taken for black
    with pytest.raises(DataError, match=r"a\.tif: .*damaged TIFF .no readable PhotometricInterpretation"):
        decode(at(tmp_path / "a.tif"), 0, size=(6, 10))


def test_damaged_exif_data_are_counted_and_told(tmp_path, capsys):
    for name, exif in (("a.jpg", None), ("b.jpg", DAMAGED["no header"]), ("c.jpg", SOUND)):
        write(tmp_path / name, "JPEG", exif)
    (tmp_path / "d.jpg").write_bytes(b"no image")
    images = at(*(tmp_path / f"{name}.jpg" for name in "abcd"))
    found = decode_all(images, size=(6, 6), on_error="skip")
    assert (found.damaged_exif, [name for name, _ in found.broken]) == (["b.jpg"], ["d.jpg"])
    for in_memory in (True, False):
        say_once.cache_clear()
        pixels = load_pixels(images, Decoding((6, 6), in_memory=in_memory, on_error="skip"))
        assert pixels.damaged_exif == ("b.jpg",)
        assert len(pixels) == 3
        told = "warning: the damaged EXIF data of 1 of 3 images are passed over: 'b.jpg'"
        assert told in capsys.readouterr().err


def test_a_box_in_an_image_with_damaged_exif_data(tmp_path):
    write(tmp_path / "a.png", "PNG", DAMAGED["no header"])
    reader = BoxReader(FileReader(str(tmp_path), ("a.png",)), np.array([[2.0, 1.0, 4.0, 3.0]]), str)
    images = ImageSet.from_classes(["c"], ["a.png"], reader)
    expected = np.asarray(image())[1:4, 2:6].transpose(2, 0, 1)
    assert np.array_equal(decode(images, 0, size=(3, 4)), expected)
    assert decode_all(images, size=(3, 4)).damaged_exif == ["a.png"]


@pytest.mark.parametrize("exif", [None, SOUND, DAMAGED["no header"]])
def test_truncated_pixels_stay_an_error(tmp_path, exif):
    file = io.BytesIO()
    large = image().resize((100, 100))
    large.save(file, "JPEG", **({} if exif is None else {"exif": exif}))
    (tmp_path / "a.jpg").write_bytes(file.getvalue()[:-200])
    with pytest.raises(DataError, match=r"a\.jpg: found no readable image .*truncated"):
        decode(at(tmp_path / "a.jpg"), 0, size=(100, 100))
