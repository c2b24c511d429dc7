"""Flipped and cropped views, and their embeddings added up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from circlet.models import embed, plain_view, views

IMAGES = torch.arange(2 * 1 * 5 * 7, dtype=torch.float32).view(2, 1, 5, 7)


def test_one_view_is_the_image():
    (only,) = views(IMAGES)
    assert only is IMAGES


def test_five_crops_are_the_corners_and_the_centre():
    crops = views(IMAGES, crop=(3, 3))
    expected = [IMAGES[:, :, :3, :3], IMAGES[:, :, :3, 4:], IMAGES[:, :, 2:, :3], IMAGES[:, :, 2:, 4:]]
    for crop, other in zip(crops, [*expected, IMAGES[:, :, 1:4, 2:5]], strict=True):
        assert torch.equal(crop, other)
    ten = views(IMAGES, crop=(3, 3), flip=True)
    assert len(ten) == 10
    for crop, mirrored in zip(ten[:5], ten[5:], strict=True):
        assert torch.equal(crop.flip(3), mirrored)


@given(st.integers(1, 5), st.integers(1, 7), st.booleans())
def test_a_mirrored_image_has_the_mirrored_views(height, width, flip):
    """So, where width and centre allow it, flip + crops make an embedding that does not tell left from right."""
    own = views(IMAGES, crop=(height, width), flip=flip)
    assert {tuple(view.shape) for view in own} == {(2, 1, height, width)}
    assert len(own) == (10 if flip else 5)
    if flip and width % 2 == 1:
        other = views(IMAGES.flip(3), crop=(height, width), flip=True)
        as_set = [{tuple(view.flatten().tolist()) for view in group} for group in (own, other)]
        assert as_set[0] == as_set[1]


@pytest.mark.parametrize("crop", [(6, 3), (3, 8), (0, 3)])
def test_crops_beyond_the_image(crop):
    with pytest.raises(ValueError, match=f"crop: found {crop[0]} x {crop[1]}, expected at most the images' 5 x 7"):
        views(IMAGES, crop=crop)


def test_embed_adds_up_and_then_normalizes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    x = torch.rand(6, 1, 5, 5)
    with torch.no_grad():
        expected = sum(model(view) for view in views(x, flip=True, crop=(3, 3)))
    raw = embed(model, x.split(4), flip=True, crop=(3, 3), normalize=False)
    torch.testing.assert_close(raw, expected)
    unit = embed(model, x.split(4), flip=True, crop=(3, 3))
    torch.testing.assert_close(unit, nn.functional.normalize(expected, dim=1))


def test_flipping_makes_an_embedding_blind_to_left_and_right():
    model = nn.Sequential(nn.Flatten(), nn.Linear(35, 4))
    for normalize in (True, False):
        both = [embed(model, [x], flip=True, normalize=normalize) for x in (IMAGES, IMAGES.flip(3))]
        torch.testing.assert_close(*both)
    assert not torch.allclose(embed(model, [IMAGES]), embed(model, [IMAGES.flip(3)]))


@pytest.mark.parametrize(("side", "size"), [((256, 256), (227, 227)), ((256, 128), (224, 112)), ((9, 8), (4, 4))])
def test_a_central_view_that_needs_no_scaling_is_cut_out(side, size):
    x = torch.rand(1, 3, *side)
    view = plain_view(x, size, size[1] / side[1])
    top, left = (side[0] - size[0]) // 2, (side[1] - size[1]) // 2
    assert torch.equal(view, x[:, :, top : top + size[0], left : left + size[1]])


def test_a_central_view_that_needs_scaling_is_scaled():
    ramp = torch.linspace(0, 1, 72).expand(1, 1, 72, 72)
    view = plain_view(ramp, (64, 64), 0.9)
    assert view[0, 0, 0, -1] - view[0, 0, 0, 0] == pytest.approx(0.9, abs=0.01)
    torch.testing.assert_close(view.flip(3), 1 - view)


@pytest.mark.parametrize("place", [(-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1)])
def test_corners_are_cut_out_or_scaled_alike(place):
    images = torch.rand(2, 3, 20, 30)
    cut = plain_view(images, (16, 24), 0.8, place=place)
    top, left = ({-1: 0, 0: space // 2, 1: space}[at] for at, space in zip(place, (4, 6), strict=True))
    assert torch.equal(cut, images[:, :, top : top + 16, left : left + 24])
    scaled = plain_view(images.double(), (12, 18), 0.8, place=place)
    expected = plain_view(cut.double(), (12, 18))
    torch.testing.assert_close(scaled[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-6, rtol=0)
