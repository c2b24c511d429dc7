"""Images in any form become one set, and give one and the same vector."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from circlet.data import DataError
from circlet.inference import image_set
from tests.index.tiny import photo, photos, tiny_model


@pytest.fixture
def path(tmp_path):
    return photo(tmp_path / "a.png", (200, 30, 60))


def test_every_form_of_an_image_gives_the_same_vector(path):
    model = tiny_model()
    pixels = np.asarray(Image.open(path))
    chw = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    forms = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.open(path), pixels, chw]
    rows = [model.embed(form, show_progress=False) for form in forms]
    assert all(row.shape == (1, 8) for row in rows)
    for row in rows[1:]:
        torch.testing.assert_close(row, rows[0])
    together = model.embed(forms, show_progress=False)
    torch.testing.assert_close(together, rows[0].expand(len(forms), -1))


def test_batches_have_a_dimension_more(path):
    pixels = np.asarray(Image.open(path))
    assert len(image_set(np.stack([pixels, pixels]))) == 2
    assert len(image_set(torch.from_numpy(np.stack([pixels] * 3)).permute(0, 3, 1, 2))) == 3
    assert len(image_set(pixels[:, :, 0])) == 1


def test_grey_and_transparent_arrays(path):
    model, grey = tiny_model(), np.full((9, 7), 90, np.uint8)
    as_rgb = model.embed(np.repeat(grey[:, :, None], 3, 2), show_progress=False)
    for form in (grey, grey[:, :, None], torch.from_numpy(grey)[None], Image.fromarray(grey)):
        torch.testing.assert_close(model.embed(form, show_progress=False), as_rgb)
    clear = np.dstack([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)])
    white = np.full((4, 4, 3), 255, np.uint8)
    torch.testing.assert_close(*(model.embed(form, show_progress=False) for form in (clear, white)))


def test_the_image_of_a_caller_stays_as_it_is(path):
    image = Image.open(path)
    tiny_model().embed(image, show_progress=False)
    assert image.size == (24, 20)
    assert np.asarray(image).shape == (20, 24, 3)


def test_exif_orientation_is_applied_in_every_form(tmp_path):
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, :12] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, upright = tmp_path / "turned.png", tmp_path / "upright.png"
    Image.fromarray(pixels).save(turned, exif=exif)
    Image.fromarray(np.rot90(pixels, 3)).save(upright)
    model = tiny_model()
    expected = model.embed(upright, show_progress=False)
    for form in (turned, turned.read_bytes(), Image.open(turned)):
        torch.testing.assert_close(model.embed(form, show_progress=False), expected)


def test_folders_and_manifests_have_classes(tmp_path):
    root = photos(tmp_path / "photos", 2, 2)
    assert image_set(root).class_names == ("class 0", "class 1")
    (tmp_path / "list.csv").write_text("path,label\nphotos/class 0/0.png,ant\n")
    assert image_set(tmp_path / "list.csv").class_names == ("ant",)
    assert image_set([root / "class 0" / "0.png"]).class_names == (".",)
    assert len(image_set([])) == 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (7, "images: found int, expected a path"),
        ([7], "images: found int as image 0, expected a path"),
        (np.zeros((4, 4, 3)), r"images: found float64 \(4, 4, 3\) as image 0, expected uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"images: found uint8 \(0, 4, 3\)"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), r"images: found uint8 \(4, 4, 2\)"),
    ],
)
def test_what_is_no_image_is_named(images, message):
    with pytest.raises(ValueError, match=message):
        image_set(images)


def test_errors_name_the_file_or_the_place(path, tmp_path):
    model = tiny_model()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(DataError, match=r"broken\.jpg: found no readable image"):
        model.embed([path, tmp_path / "broken.jpg"], show_progress=False)
    with pytest.raises(DataError, match=r"nowhere\.jpg"):
        model.embed(tmp_path / "nowhere.jpg", show_progress=False)
    with pytest.raises(DataError, match="image 1: found no readable image"):
        model.embed([path.read_bytes(), b"nothing"], show_progress=False)
    with pytest.raises(DataError, match="found a folder among 2 paths"):
        image_set([path, tmp_path])


def test_other_bytes_like_objects(path):
    assert len(image_set([io.BytesIO(path.read_bytes()), memoryview(path.read_bytes()), Path(path)])) == 3
