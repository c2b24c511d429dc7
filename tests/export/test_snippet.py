"""The code on a model card gives the bytes that the library decodes, with Pillow and numpy alone."""

import io

import numpy as np
import pytest
from PIL import Image

from circlet.data import FileReader, ImageSet, decode
from circlet.data.pixels import Decoding
from circlet.export.snippet import preparation_code, preparation_words
from circlet.inference import load_model
from tests.export.test_onnx_file import VIEWS, model_with

FORMS = [
    Decoding((24, 28), 3, "crop"),
    Decoding((28, 24), 3, "stretch", interpolation="bilinear"),
    Decoding((24, 24), 3, "pad", interpolation="lanczos"),
    Decoding((16, 20), 1, "crop", interpolation="nearest"),
    Decoding((20, 16), 1, "pad", interpolation="hamming"),
    Decoding((20, 20), 1, "ink"),
]


def images():
    rng = np.random.default_rng(0)

    def photo(width, height):
        small = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
        return small.resize((width, height), Image.Resampling.BICUBIC)

    turned = Image.Exif()
    turned[0x0112] = 6
    yield "photo.jpg", photo(300, 200), {"quality": 90, "exif": turned}
    yield "large.jpg", photo(1600, 1100), {"quality": 85}
    yield "grey.jpg", photo(90, 200).convert("L"), {}
    yield "wide.png", photo(211, 17), {}
    yield "clear.png", Image.merge("RGBA", (*photo(60, 50).split(), photo(60, 50).convert("L"))), {}
    yield "palette.gif", photo(64, 40).quantize(20), {}
    yield "one.png", photo(1, 1), {}
    yield "bits.png", photo(50, 40).convert("1"), {}
    yield "faint.png", photo(50, 40).convert("LA"), {}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, image, options in images():
        image.save(folder / name, **options)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.fit}-{form.interpolation}-{form.channels}")
def test_the_same_bytes(files, form):
    space = {}
    exec(preparation_code(form), space)
    for path in files:
        given = ImageSet.from_classes(["."], [path.name], FileReader("", (str(path),)))
        expected = decode(given, 0, size=form.size, channels=form.channels, fit=form.fit,
                          interpolation=form.interpolation).transpose(1, 2, 0)  # fmt: skip
        found = space["pixels"](path)
        assert (found.dtype, found.shape) == (np.uint8, (*form.size, form.channels))
        np.testing.assert_array_equal(found, expected, err_msg=path.name)


def test_it_needs_pillow_and_numpy_alone():
    for form in FORMS:
        code = preparation_code(form)
        lines = [line for line in code.splitlines() if "import" in line]
        if form.fit != "ink":
            assert lines == ["import numpy as np", "from PIL import Image, ImageOps"]
        assert len(code.splitlines()) < 24
        assert all(len(line) <= 120 for line in code.splitlines())


def test_bytes_in_memory_are_taken_too():
    space, raw = {}, io.BytesIO()
    exec(preparation_code(FORMS[0]), space)
    Image.new("RGB", (40, 30), "red").save(raw, "PNG")
    assert space["pixels"](raw).shape == (24, 28, 3)


def test_words():
    text = preparation_words(load_model("efficientnet_lite0", device="cpu"))
    assert text.startswith(
        "An image is turned upright (red, green, blue, 8 bits, transparency over white) and its shorter"
    )
    assert "so that 256 x 256 pixels fit, and the centre taken, by Pillow's bicubic filter." in text
    assert "The network sees the central 0.875 of each side, at 224 x 224 pixels; this, mean, standard" in text
    said = {name: preparation_words(model_with(*VIEWS[name])) for name in VIEWS}
    assert "sees the whole image; this" in said["whole"]
    assert "at 16 x 20 pixels, and their mirror images too; this" in said["mirrored"]
    assert "five crops of 16 x 20 pixels, corners and centre" in said["five crops"]
