"""Each operation of RandAugment against PIL, drawn as often as it should be, and none at strength 0."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from circlet.augment import Augment, AugmentConfig, operations
from circlet.augment.geometry import apply_maps, identity_grid, random_maps, sample
from circlet.augment.strength import MOVES, OPERATIONS, PIXELS, Drawn, change_pixels, draw, moves


def photos(n=6, height=24, width=30, channels=3):
    """Smooth, dark and flat images: histograms of all kinds."""
    rng = torch.Generator().manual_seed(2)
    x = torch.rand(n, channels, height, width, generator=rng) ** 2 * torch.linspace(0.3, 1, n).view(-1, 1, 1, 1)
    x[0] = 0.4
    return (255 * x).round().byte()


def by_pil(images, change):
    modes = [image[0] if len(image) == 1 else image.permute(1, 2, 0) for image in images]
    arrays = [np.array(change(Image.fromarray(image.numpy()))) for image in modes]
    out = torch.from_numpy(np.stack(arrays))
    return (out[:, None] if out.ndim == 3 else out.permute(0, 3, 1, 2)) / 255


ENHANCERS = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast,
             "saturation": ImageEnhance.Color, "sharpness": ImageEnhance.Sharpness}  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.1, 0.7, 1.0, 1.9])
@pytest.mark.parametrize("name", ENHANCERS)
def test_enhancers_against_pil(name, factor, channels):
    x = photos(channels=channels)
    out = getattr(operations, name)(x / 255, torch.full((len(x),), factor))
    expected = by_pil(x, lambda image: ENHANCERS[name](image).enhance(factor))
    torch.testing.assert_close(out, expected, atol=2.01 / 255, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_others_against_pil(channels):
    x = photos(channels=channels)
    images = x / 255
    close = {"rtol": 0, "atol": 1.01 / 255}  # PIL rounds down
    torch.testing.assert_close(operations.autocontrast(images), by_pil(x, ImageOps.autocontrast), **close)
    for threshold in (0, 100, 255):
        expected = by_pil(x, lambda image: ImageOps.solarize(image, threshold))  # noqa: B023
        torch.testing.assert_close(operations.solarise(images, threshold / 255), expected)
    for bits in (1, 4, 8):
        expected = by_pil(x, lambda image: ImageOps.posterize(image, bits))  # noqa: B023
        torch.testing.assert_close(operations.posterise(images, bits), expected)
    torch.testing.assert_close(operations.equalise(images), by_pil(x, ImageOps.equalize))
    large = photos(3, 80, 80, channels)
    torch.testing.assert_close(operations.equalise(large / 255), by_pil(large, ImageOps.equalize))


def alone(name, sign=1.0, n=1):
    return Drawn(torch.full((1, n), OPERATIONS.index(name)), torch.full((1, n), sign))


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_moves_against_pil(name, sign):
    """An oblong image with a smooth spot, moved at strength 1 about its centre, in pixels."""
    height, width, s = 48, 64, sign
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    spot = torch.exp(-((x - 40) ** 2 + (y - 20) ** 2) / 60) + 0.3 * torch.exp(-((x - 25) ** 2 + (y - 30) ** 2) / 20)
    grid = apply_maps(moves(alone(name, s), 1.0, (height, width)), identity_grid(spot[None, None], (height, width)))
    out = sample(spot[None, None], grid, 0.0)[0, 0]
    cos, sin = math.cos(math.radians(30)), s * math.sin(math.radians(30))
    linear = {"rotate": (cos, -sin, sin, cos), "shear x": (1, 0.3 * s, 0, 1), "shear y": (1, 0, 0.3 * s, 1)}
    a, b, d, e = linear.get(name, (1, 0, 0, 1))
    shift = (0.3 * s * width * (name == "translate x"), 0.3 * s * height * (name == "translate y"))
    c = width / 2 - a * width / 2 - b * height / 2 + shift[0]
    f = height / 2 - d * width / 2 - e * height / 2 + shift[1]
    pil = Image.fromarray(spot.numpy()).transform((width, height), Image.Transform.AFFINE, (a, b, c, d, e, f),
                                                  Image.Resampling.BILINEAR)  # fmt: skip
    inside = (slice(2, -2), slice(2, -2))
    expected = torch.from_numpy(np.array(pil))
    known = (expected != 0)[inside]  # PIL leaves 0 where an interpolation would need a pixel beyond the border
    torch.testing.assert_close(out[inside][known], expected[inside][known], atol=0.02, rtol=0)


def test_operations_are_drawn_evenly_and_signs_both_ways():
    torch.manual_seed(0)
    drawn = draw(7000, 2)
    assert len(OPERATIONS) == 14
    assert drawn.operation.shape == drawn.sign.shape == (2, 7000)
    counts = drawn.operation.flatten().bincount(minlength=14)
    assert counts.min() > 850
    assert counts.max() < 1150
    assert drawn.sign.unique().tolist() == [-1, 1]
    assert drawn.sign.mean().abs() < 0.03
    assert not torch.equal(drawn.operation[0], drawn.operation[1])


def test_each_image_gets_its_own_operations_in_their_order():
    """Against one image after the other, by PIL."""
    x = photos(40, 16, 16)
    torch.manual_seed(0)
    drawn = draw(40, 3)
    out = change_pixels(x / 255, drawn, 1.0)
    functions = {
        "autocontrast": ImageOps.autocontrast, "equalise": ImageOps.equalize,
        "solarise": lambda image: ImageOps.solarize(image, 0), "posterise": lambda image: ImageOps.posterize(image, 4),
    }  # fmt: skip
    for place in range(40):
        image = Image.fromarray(x[place].permute(1, 2, 0).numpy())
        names = [OPERATIONS[number] for number in drawn.operation[:, place]]
        for name, sign in zip(names, drawn.sign[:, place].tolist(), strict=True):
            if name in functions:
                image = functions[name](image)
            elif name in PIXELS:
                image = ENHANCERS[name](image).enhance(1 + 0.9 * sign)
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        steep = (
            "equalise" in names[1:] or "posterise" in names[1:]
        )  # a grey value more or less before may be many after
        error = (out[place] - expected).abs()
        assert error.median() <= 4 / 255 if steep else error.max() <= 20 / 255, names


def test_strength_0_is_nothing_and_small_ones_are_small():
    x = photos(40) / 255
    drawn = draw(40, 2)
    for name in ("brightness", "contrast", "saturation", "sharpness", "autocontrast", "equalise", "posterise"):
        out = change_pixels(x.clone(), alone(name, n=40), 0.02)
        assert (out - x).abs().max() < 0.03
    still = moves(drawn, 0.0, (24, 30))
    torch.testing.assert_close(still, torch.eye(2, 3).expand(40, -1, -1))
    for config in (AugmentConfig(), AugmentConfig(strength=1.0, operations=0)):
        out, _ = Augment(config, (24, 30))(x, torch.arange(40))
        torch.testing.assert_close(out, x, atol=1e-5, rtol=0)


def test_moves_come_after_the_crop_in_one_interpolation():
    """Where nothing but moves is drawn, the views are those of the composed maps."""
    x = photos(8) / 255
    config = AugmentConfig(flip=True, crop=(0.5, 0.9), strength=0.8, operations=3)
    torch.manual_seed(3)
    out, _ = Augment(config, (20, 26))(x, torch.arange(8))
    torch.manual_seed(3)
    crop, drawn = random_maps(x, config), draw(8, 3)
    grid = apply_maps(crop, apply_maps(moves(drawn, 0.8, (20, 26)), identity_grid(x, (20, 26))))
    expected = change_pixels(sample(x, grid, None), drawn, 0.8)
    steep = (drawn.operation >= OPERATIONS.index("equalise")).any(0)
    torch.testing.assert_close(out[~steep], expected[~steep], atol=1e-4, rtol=0)


@given(
    height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]), strength=st.floats(0.01, 1),
    name=st.sampled_from(list(PIXELS)), sign=st.sampled_from([-1.0, 1.0]),
)  # fmt: skip
def test_every_size_stays_in_range(height, width, channels, strength, name, sign):
    x = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    out = change_pixels(x.clone(), alone(name, sign, 2), strength)
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 1
    assert change_pixels(x[:0], draw(0, 2), strength).shape == (0, channels, height, width)


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match=r"images: found 2 channels, expected 1 or 3"):
        change_pixels(torch.rand(2, 2, 4, 4), alone("contrast", n=2), 0.5)
