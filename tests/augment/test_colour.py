"""Colour against colorsys, PIL and the definition; blur against SciPy."""

import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from circlet.augment.blur import blur, change_focus
from circlet.augment.colour import change_colour, luma, recoloured


def photos(n=4, height=9, width=11, channels=3):
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1))


def of_colorsys(pixel, turn, scale):
    """One pixel by the standard library, whose coefficients are rounded to two digits."""
    y, i, q = colorsys.rgb_to_yiq(*pixel)
    angle = -2 * math.pi * turn
    i, q = scale * (math.cos(angle) * i - math.sin(angle) * q), scale * (math.sin(angle) * i + math.cos(angle) * q)
    return colorsys.yiq_to_rgb(y, i, q)


def test_hue_and_saturation_against_colorsys():
    x, turn, scale = photos(), torch.tensor([0.1, -0.25, 0.5, 0.0]), torch.tensor([1.0, 0.5, 1.7, 0.0])
    out = recoloured(x, turn, scale).permute(0, 2, 3, 1)
    for image, changed, how_far, how_much in zip(x.permute(0, 2, 3, 1), out, turn, scale, strict=True):
        expected = [[of_colorsys(pixel.tolist(), how_far, how_much) for pixel in row] for row in image]
        torch.testing.assert_close(changed, torch.tensor(expected, dtype=torch.float32), atol=0.02, rtol=0)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.8])
def test_saturation_against_pil(factor):
    x = (255 * photos()).byte()
    out = recoloured(x / 255, torch.zeros(len(x)), torch.full((len(x),), factor))
    for image, changed in zip(x, out, strict=True):
        pil = ImageEnhance.Color(Image.fromarray(image.permute(1, 2, 0).numpy())).enhance(factor)
        expected = torch.from_numpy(np.array(pil)).permute(2, 0, 1) / 255
        torch.testing.assert_close(changed, expected, atol=2.01 / 255, rtol=0)


def test_a_third_of_the_circle_takes_each_primary_colour_to_the_next():
    primary = 0.3 + 0.2 * torch.eye(3)  # pale enough to stay within the range
    for turn, roll in ((1 / 3, 1), (-1 / 3, -1), (0.0, 0)):
        out = recoloured(primary.view(3, 3, 1, 1), torch.full((3,), turn), torch.ones(3)).view(3, 3)
        assert torch.equal(out.argmax(1), torch.arange(3).roll(-roll))


@given(turn=st.floats(-0.5, 0.5), scale=st.floats(0, 1), seed=st.integers(0, 99))
def test_turns_keep_the_luma_can_be_undone_and_leave_grey_alone(turn, scale, seed):
    pale = 0.5 + 0.1 * torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    turns = torch.tensor([turn, -turn])
    out = recoloured(pale, turns, torch.tensor([scale, 1.0]))
    torch.testing.assert_close(luma(out), luma(pale), atol=1e-5, rtol=0)
    torch.testing.assert_close(recoloured(out, -turns, torch.ones(2))[1], pale[1], atol=1e-5, rtol=0)
    grey = luma(pale).expand(-1, 3, -1, -1)
    torch.testing.assert_close(recoloured(grey, turns, torch.ones(2)), grey, atol=1e-5, rtol=0)


def test_change_colour_draws_for_each_image_within_its_limits():
    torch.manual_seed(0)
    colour = torch.tensor([0.6, 0.5, 0.45]).view(1, 3, 1, 1).expand(2000, -1, 4, 4)
    out = change_colour(colour, 0.0, 0.4, 0.0)
    scale = ((out - luma(out)) / (colour - luma(colour)))[:, 0, 0, 0]
    assert 0.6 - 1e-3 <= scale.min() < 0.61
    assert 1.39 < scale.max() <= 1.4 + 1e-3
    assert scale.mean() == pytest.approx(1, abs=0.02)
    turned = change_colour(colour, 0.1, 0.0, 0.0)
    hues = torch.tensor([colorsys.rgb_to_yiq(*pixel)[1:] for pixel in turned[:, :, 0, 0].tolist()])
    before = torch.tensor(colorsys.rgb_to_yiq(0.6, 0.5, 0.45)[1:])
    angle = (torch.atan2(hues[:, 1], hues[:, 0]) - torch.atan2(before[1], before[0])) / (2 * math.pi)
    assert angle.abs().max() == pytest.approx(0.1, abs=0.005)
    assert angle.mean() == pytest.approx(0, abs=0.005)
    spread = change_colour(colour, 0.0, 0.0, 0.3)
    grey = (spread.amax(1) - spread.amin(1)).amax((1, 2)) < 1e-5
    assert 520 < grey.sum() < 680
    torch.testing.assert_close(spread[~grey], colour[~grey])


def test_one_channel_has_no_colour_and_others_are_refused():
    x = photos(channels=1)
    before = torch.get_rng_state()
    assert torch.equal(change_colour(x, 0.5, 1.0, 1.0), x)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match=r"images: found 4 channels, expected 1 or 3 for augment\.hue"):
        change_colour(photos(channels=4), 0.5, 0.0, 0.0)
    assert change_colour(photos(0), 0.1, 0.1, 0.1).shape == (0, 3, 9, 11)


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_against_scipy(channels):
    x, sigma = photos(5, 23, 40, channels), torch.tensor([0.02, 0.1, 0.7, 1.4, 2.0])
    out = blur(x, sigma, radius=6)
    for image, changed, width in zip(x, out, sigma.tolist(), strict=True):
        expected = gaussian_filter(image.numpy(), (0, width, width), mode="nearest", radius=(0, 6, 6))
        torch.testing.assert_close(changed, torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_blur_takes_its_share_and_scales_with_the_size():
    torch.manual_seed(0)
    x = torch.zeros(400, 1, 112, 112)
    x[:, :, 56, 56] = 1
    out = change_focus(x.clone(), 0.25)
    changed = (out != x).flatten(1).any(1)
    assert 70 < changed.sum() < 130
    profile = out[changed].sum((1, 2))
    sigma = (profile * (torch.arange(112) - 56.0) ** 2).sum(1).sqrt()
    assert sigma.max() == pytest.approx(1.0, abs=0.03)  # 2 pixels at 224
    assert sigma.mean() == pytest.approx(0.5, abs=0.1)
    assert change_focus(photos(), 0.0).equal(photos())
