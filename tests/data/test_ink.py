"""Cutting a drawing out by its ink: place and size go, shape stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from circlet.data import ImageSet, decode
from circlet.data.ink import ink_box


class Drawing:
    """An L of two bars, somewhere and of some size; picklable as ImageSet asks."""

    def __init__(self, x, y, scale):
        self.x, self.y, self.scale = x, y, scale

    def __call__(self, index):
        image = Image.new("L", (200, 200), 255)
        draw, s = ImageDraw.Draw(image), self.scale
        draw.rectangle((self.x, self.y, self.x + s // 4, self.y + s), fill=0)
        draw.rectangle((self.x, self.y + 3 * s // 4, self.x + s, self.y + s), fill=0)
        return image


def decoded(x, y, scale, channels=1):
    images = ImageSet.from_classes(["a"], ["drawing"], Drawing(x, y, scale))
    return decode(images, 0, size=(32, 32), channels=channels, fit="ink").astype(float)


@settings(max_examples=30)
@given(x=st.integers(0, 120), y=st.integers(0, 120))
def test_place_does_not_matter(x, y):
    assert np.abs(decoded(x, y, 72) - decoded(60, 60, 72)).max() <= 2


def test_the_ink_is_in_the_middle_and_colours_stay():
    ink = 255 - decoded(10, 100, 64)[0]
    centre = (ink.sum(0) @ (np.arange(32) + 0.5) / ink.sum(), ink.sum(1) @ (np.arange(32) + 0.5) / ink.sum())
    np.testing.assert_allclose(centre, 16, atol=0.2)
    np.testing.assert_array_equal(decoded(10, 100, 64, channels=3)[1], decoded(10, 100, 64)[0])


def test_size_does_not_matter():
    def side(scale):
        left, top, right, bottom = ink_box(np.asarray(Drawing(20, 20, scale)(0)))
        assert right - left == pytest.approx(bottom - top)
        return right - left

    assert side(128) / side(64) == pytest.approx(2, rel=0.02)
    assert np.abs(decoded(20, 20, 128) - decoded(20, 20, 64)).mean() < 6


@pytest.mark.parametrize("value", [255, 0])
def test_blank_and_black_images(value):
    images = ImageSet.from_classes(["a"], ["blank"], lambda i: Image.new("L", (40, 20), value))
    out = decode(images, 0, size=(16, 16), channels=1, fit="ink")
    assert out.shape == (1, 16, 16)
    assert (out == 255).all() if value == 255 else (out < 128).any()


def test_a_single_dot_is_not_blown_up_without_end():
    image = np.full((105, 105), 255, dtype=np.uint8)
    image[50, 50] = 0
    left, _, right, _ = ink_box(image)
    assert right - left > 5
