import pickle
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from circlet.data import DataError, DecodedImages, FileReader, ImageSet, decode, decode_all, find_broken, glyphs


def files(root, *names):
    return ImageSet.from_classes(["c"] * len(names), names, FileReader(str(root), names))


def given_image(image):
    return ImageSet.from_classes(["c"], ["it"], lambda index: image.copy())


def one(image, size=(4, 4), channels=1, fit="stretch"):
    return decode(given_image(image), 0, size=size, channels=channels, fit=fit)


def noise(height, width, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def test_same_size_is_exact():
    image = noise(5, 7)
    pixels = one(image, (5, 7), 3)
    assert pixels.tolist() == np.asarray(image).transpose(2, 0, 1).tolist()
    assert one(image, (5, 7), 1).tolist() == [np.asarray(image.convert("L")).tolist()]
    grey = noise(5, 7, 1)
    assert one(grey, (5, 7), 3).tolist() == [np.asarray(grey).tolist()] * 3


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_every_fit_gives_the_size_and_keeps_a_constant(height, width, out_height, out_width, channels):
    image = Image.new("RGB", (width, height), (90, 90, 90))
    for fit in ("stretch", "crop", "pad"):
        pixels = one(image, (out_height, out_width), channels, fit)
        assert pixels.shape == (channels, out_height, out_width)
        assert pixels.dtype == np.uint8
        assert set(np.unique(pixels)) <= ({90, 255} if fit == "pad" else {90})
        assert (pixels == 90).any()


def test_crop_takes_the_centre_and_pad_keeps_all():
    columns = np.repeat(np.array([[10, 10, 60, 60, 120, 120]], dtype=np.uint8), 2, axis=0)
    image = Image.fromarray(columns)
    assert one(image, (2, 2), fit="crop").tolist() == [[[60, 60], [60, 60]]]
    padded = one(image, (6, 6), fit="pad")[0]
    assert padded[2:4].tolist() == columns.tolist()
    assert set(padded[[0, 1, 4, 5]].ravel().tolist()) == {255}
    tall = one(image.transpose(Image.Transpose.ROTATE_90), (2, 2), fit="crop")
    assert tall.tolist() == [[[60, 60], [60, 60]]]


def test_resize_is_antialiased():
    stripes = Image.fromarray(np.tile(np.array([0, 255], dtype=np.uint8), (64, 32)))
    assert abs(one(stripes, (8, 8)).astype(int) - 127).max() <= 2


def test_modes():
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    assert one(Image.fromarray(values), (1, 4)).tolist() == [[[0, 1, 128, 255]]]
    assert one(Image.fromarray(values.astype(np.int32)), (1, 4)).tolist() == [[[0, 1, 128, 255]]]
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert set(one(clear, (2, 2), 3).ravel().tolist()) == {255}
    half = Image.new("LA", (2, 2), (0, 128))
    assert set(one(half, (2, 2)).ravel().tolist()) == {127}
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    assert one(palette, (1, 2), 3)[:, 0].T.tolist() == [[255, 0, 0], [0, 255, 0]]
    palette.info["transparency"] = 1
    assert one(palette, (1, 2), 3)[:, 0].T.tolist() == [[255, 0, 0], [255, 255, 255]]
    assert set(one(Image.new("1", (2, 2), 1)).ravel().tolist()) == {255}
    assert one(Image.new("CMYK", (2, 2)), (2, 2), 3).shape == (3, 2, 2)


@pytest.mark.parametrize("image", [Image.new("F", (2, 2)), Image.new("I", (2, 2), -1), Image.new("I", (2, 2), 70000)])
def test_pixels_without_a_known_range(image):
    with pytest.raises(DataError, match="it: found no readable image"):
        one(image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = noise(6, 10)
    stored.save(tmp_path / "a.png", exif=exif)
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    upright = stored if orientation == 1 else stored.transpose(Image.Transpose(turn[orientation]))
    size = (upright.height, upright.width)
    found = decode(files(tmp_path, "a.png"), 0, size=size)
    assert found.tolist() == np.asarray(upright).transpose(2, 0, 1).tolist()


def test_jpeg_draft_looks_the_same(tmp_path):
    smooth = Image.linear_gradient("L").resize((1024, 768)).convert("RGB")
    smooth.save(tmp_path / "a.jpg", quality=95)
    for fit in ("stretch", "crop", "pad"):
        for channels in (1, 3):
            found = decode(files(tmp_path, "a.jpg"), 0, size=(32, 24), channels=channels, fit=fit)
            expected = one(smooth, (32, 24), channels, fit)
            assert np.abs(found.astype(int) - expected).max() <= 4


def broken_files(root):
    """Write one good file and one of each way to be broken; return the names of the broken."""
    noise(40, 40).save(root / "good.png")
    noise(40, 40).save(root / "cut.jpg")
    (root / "cut.png").write_bytes((root / "good.png").read_bytes()[:1500])
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:900])
    (root / "text.png").write_text("this is no image")
    (root / "empty.png").touch()
    (root / "folder.png").mkdir()
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (root / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 0) + b"IDAT")
    return ["bomb.png", "cut.jpg", "cut.png", "empty.png", "folder.png", "missing.png", "text.png"]


def test_broken_files_are_named(tmp_path):
    names = broken_files(tmp_path)
    for index, name in enumerate(names):
        reason = "found 30000 x 30000 pixels" if name == "bomb.png" else "found no readable image"
        with pytest.raises(DataError, match=f"{name}: {reason}"):
            decode(files(tmp_path, *names), index, size=(8, 8))
    images = files(tmp_path, *names)
    with pytest.raises(DataError, match=r"bomb.png: found 30000 x 30000 pixels .*, expected at most 256"):
        decode_all(images, size=(8, 8))


def test_warnings_of_readers_are_errors():
    def read(index):
        warnings.warn("some tag is damaged", stacklevel=1)

    with pytest.raises(DataError, match=r"it: found no readable image .UserWarning: some tag"):
        decode(ImageSet.from_classes(["c"], ["it"], read), 0, size=(8, 8))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [None, pytest.param(2, marks=pytest.mark.subprocess)])
def test_skip_counts_and_lists(tmp_path, num_workers):
    names = sorted([*broken_files(tmp_path), "good.png"])
    images = files(tmp_path, *names)
    found = decode_all(images, size=(8, 8), on_error="skip", num_workers=num_workers)
    assert [name for name, _ in found.broken] == [name for name in names if name != "good.png"]
    assert found.kept.tolist() == [names.index("good.png")]
    expected = decode(images, names.index("good.png"), size=(8, 8))
    assert found.images.tolist() == [expected.tolist()]
    assert find_broken(images, num_workers=num_workers) == found.broken


@pytest.mark.subprocess
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_workers_agree_with_one_process():
    images = glyphs().query.subset(range(0, 2000, 19))
    alone = decode_all(images, size=(32, 32), channels=1, num_workers=0)
    assert torch.equal(alone.images, decode_all(images, size=(32, 32), channels=1, num_workers=2).images)
    for index in (0, 50, 100):
        assert alone.images[index].tolist() == decode(images, index, size=(32, 32), channels=1).tolist()
    assert alone.kept.tolist() == list(range(len(images)))
    assert alone.broken == []


def test_empty_set():
    found = decode_all(glyphs().query.subset([]), size=(8, 8), channels=1)
    assert found.images.shape == (0, 1, 8, 8)
    assert find_broken(glyphs().query.subset([])) == []


def test_data_set_in_a_loader():
    images = glyphs().query.subset(range(0, 200, 10))
    dataset = DecodedImages(images, size=(16, 24), channels=3, fit="pad")
    pixels, labels, indices = next(iter(DataLoader(dataset, batch_size=20)))
    assert (pixels.shape, pixels.dtype) == ((20, 3, 16, 24), torch.uint8)
    assert labels.tolist() == images.labels.tolist()
    assert indices.tolist() == list(range(20))
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[3][0], pixels[3])


@pytest.mark.subprocess
def test_spawned_workers_read_the_data_set():
    dataset = DecodedImages(glyphs().query.subset(range(8)), size=(16, 16), channels=1)
    expected = torch.stack([dataset[i][0] for i in range(8)])
    loader = DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    assert torch.equal(torch.cat([pixels for pixels, _, _ in loader]), expected)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"size": (0, 8)}, "size: found"),
        ({"size": (8,)}, "size: found"),
        ({"channels": 2}, "channels: found 2"),
        ({"fit": "zoom"}, "fit: found 'zoom'"),
        ({"max_megapixels": 0}, "max_megapixels: found 0"),
        ({"on_error": "ignore"}, "on_error: found 'ignore'"),
    ],
)
def test_bad_arguments(bad, message):
    with pytest.raises(ValueError, match=message):
        decode_all(glyphs().query.subset([0]), **{"size": (8, 8), **bad})
    if "on_error" not in bad:
        with pytest.raises(ValueError, match=message):
            DecodedImages(glyphs().query, **{"size": (8, 8), **bad})


@pytest.mark.subprocess
def test_listing_sources_needs_no_torch():
    code = "import sys, circlet.data; circlet.data.glyphs(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
