"""Random resized crop against a loop as published, image for image; and images that get smaller are averaged."""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import ks_2samp

from circlet.augment import Augment, AugmentConfig
from circlet.augment.crops import random_crops
from circlet.augment.geometry import halvings


def published(height, width, area, rng):
    """torchvision's RandomResizedCrop.get_params, without rounding: width, height, left, top, in pixels."""
    for _ in range(10):
        share = rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(share * height * width * ratio), math.sqrt(share * height * width / ratio)
        if w <= width and h <= height:
            return w, h, rng.uniform(0, width - w), rng.uniform(0, height - h)
    w, h = width, height
    if width / height < 3 / 4:
        h = width / (3 / 4)
    elif width / height > 4 / 3:
        w = height * (4 / 3)
    return w, h, (width - w) / 2, (height - h) / 2


@pytest.mark.parametrize("size", [(64, 64), (72, 96), (96, 48), (40, 120)])
@pytest.mark.parametrize("area", [(0.08, 1.0), (0.5, 1.0), (0.9, 1.0)])
def test_the_distribution_is_the_published_one(size, area):
    torch.manual_seed(0)
    rng, (height, width) = random.Random(0), size
    sides, centres = random_crops(torch.zeros(4000, 1, *size), area)
    w, h = sides[:, 0] * width, sides[:, 1] * height
    left, top = (centres[:, 0] + 1) / 2 * width - w / 2, (centres[:, 1] + 1) / 2 * height - h / 2
    expected = torch.tensor([published(height, width, area, rng) for _ in range(4000)])
    for found, wanted in zip((w, h, left, top), expected.T, strict=True):
        found, wanted = (each.round(decimals=3).numpy() for each in (found, wanted))  # ties of the fallback
        assert ks_2samp(found, wanted).pvalue > 1e-4
    for found, wanted in ((w * h, expected[:, 0] * expected[:, 1]), (w / h, expected[:, 0] / expected[:, 1])):
        assert ks_2samp(found.round(decimals=3).numpy(), wanted.round(decimals=3).numpy()).pvalue > 1e-4


def test_crops_lie_within_the_image_and_where_none_fits_are_central():
    sides, centres = random_crops(torch.zeros(500, 3, 30, 50), (0.08, 1.0))
    assert (centres.abs() + sides <= 1 + 1e-6).all()
    for size, expected in (((10, 100), (4 / 30, 1.0)), ((100, 10), (1.0, 4 / 30)), ((8, 8), (1.0, 1.0))):
        sides, centres = random_crops(torch.zeros(20, 3, *size), (1.0, 1.0))
        torch.testing.assert_close(sides, torch.tensor(expected).expand(20, 2))
        assert (centres == 0).all()
    assert random_crops(torch.zeros(0, 3, 8, 8), (0.1, 1.0))[0].shape == (0, 2)


def test_an_image_of_a_third_of_the_size_is_averaged_first():
    """A checkerboard that bilinear sampling would turn into stripes becomes grey."""
    board = ((torch.arange(96)[:, None] + torch.arange(96)) % 2).float().expand(2, 1, -1, -1)
    small, _ = Augment(AugmentConfig(), (32, 32))(board, torch.arange(2))
    torch.testing.assert_close(small, torch.full_like(small, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("times", [1, 2])
def test_halving_is_an_average_at_the_same_place(times):
    x = torch.rand(3, 2, 16 << times, 24 << times, generator=torch.Generator().manual_seed(0))
    out, _ = Augment(AugmentConfig(), (16, 24))(x, torch.arange(3))
    torch.testing.assert_close(out, F.avg_pool2d(x, 2**times), atol=1e-5, rtol=0)
    odd = torch.linspace(0, 1, 101).expand(1, 1, 67, -1)  # no size that can be halved
    ramp, _ = Augment(AugmentConfig(), (20, 30))(odd, torch.arange(1))
    expected = ((torch.arange(30) + 0.5) / 30 * 101 - 0.5) / 100
    torch.testing.assert_close(ramp[0, 0, 7, 1:-1], expected[1:-1], atol=0.5 / 100, rtol=0)  # within half a pixel


def test_how_often_to_halve_follows_the_size_of_each_crop():
    x = torch.zeros(4, 3, 128, 128)
    maps = torch.eye(2, 3).repeat(4, 1, 1) * torch.tensor([1.0, 0.74, 0.4, 0.3])[:, None, None]
    assert halvings(x, maps, (32, 32)).tolist() == [2, 1, 1, 0]
    torch.manual_seed(0)
    mixed, _ = Augment(AugmentConfig(crop=(0.05, 1.0), fill=1.0), (32, 32))(x + 0.5, torch.arange(4))
    torch.testing.assert_close(mixed, torch.full_like(mixed, 0.5))
