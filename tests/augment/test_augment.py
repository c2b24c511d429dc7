"""Augmentation: every change alone against what it should do, and new classes that stay classes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circlet.augment import Augment, AugmentConfig
from circlet.augment.new_classes import composed_classes, dihedral_views
from circlet.models import plain_view
from circlet.recipes.settings import CHARACTERS

LABELS = torch.arange(6).repeat_interleave(4)


def images(side=16, channels=1):
    return torch.rand(len(LABELS), channels, side, side, generator=torch.Generator().manual_seed(0))


def test_no_change_is_the_plain_view():
    x = images()
    for size in ((16, 16), (10, 14)):
        out, labels = Augment(AugmentConfig(), size)(x, LABELS)
        torch.testing.assert_close(out, plain_view(x, size), atol=1e-5, rtol=0)
        assert torch.equal(labels, LABELS)
    torch.testing.assert_close(plain_view(x, (16, 16)), x)
    torch.testing.assert_close(plain_view(x, (8, 8), crop_share=0.5), x[:, :, 4:12, 4:12], atol=1e-5, rtol=0)


ONE_AT_A_TIME = {
    "flip": True, "crop": (0.3, 0.9), "rotation": 20.0, "zoom": 0.3, "aspect": 0.3, "shear": 0.3, "shift": 0.3,
    "pad": 3, "elastic": 0.3, "stroke": 1.0, "brightness": 0.3, "contrast": 0.3, "erase": 1.0, "dihedral_classes": True,
    "composed_classes": 1.0, "warped_classes": 1.0, "hue": 0.3, "saturation": 0.8, "grey": 0.5, "blur": 1.0,
    "strength": 0.7,
}  # fmt: skip
OF_COLOUR = {"hue", "saturation", "grey"}  # an image of one channel has none


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        (name, channels)
        for name in sorted(ONE_AT_A_TIME.keys() - {"dihedral_classes"})
        for channels in (1, 3)
        if channels == 3 or name not in OF_COLOUR
    ],
)
def test_each_change_changes_stays_in_range_and_follows_the_seed(name, channels):
    size = (40, 40) if name == "blur" else (16, 16)
    augment = Augment(AugmentConfig(**{name: ONE_AT_A_TIME[name]}), size)
    x = images(side=size[0], channels=channels)
    before = x.clone()
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(augment(x, LABELS)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[0], plain_view(x, size))
    assert results[0].shape == x.shape
    assert results[0].min() >= -1e-6
    assert results[0].max() <= 1 + 1e-6
    assert torch.equal(x, before)


def test_every_setting_is_tested_alone():
    assert ONE_AT_A_TIME.keys() == AugmentConfig().__dict__.keys() - {"fill", "transform", "operations"}


@pytest.mark.parametrize(
    ("config", "channels", "size", "following"),
    [
        (CHARACTERS, 1, (64, 64), 0.7122330665588379),
        (AugmentConfig(flip=True, brightness=0.2, contrast=0.2), 3, (72, 72), 0.8922722339630127),
        (AugmentConfig(flip=True, pad=10, erase=0.5, fill=0.0), 3, (64, 32), 0.5069873332977295),
    ],
)
def test_what_is_off_draws_no_random_numbers(config, channels, size, following):
    """So that a run of an earlier version can be repeated: the number that followed there, then."""
    torch.manual_seed(5)
    x = torch.randint(0, 256, (32, channels, *size), dtype=torch.uint8)
    Augment(config, (64, min(64, size[1])))(x, torch.arange(8).repeat_interleave(4) * 8)
    assert torch.rand(1).item() == following


def test_flip_mirrors_about_half_of_the_images():
    x = torch.rand(400, 1, 8, 8)
    out, _ = Augment(AugmentConfig(flip=True), (8, 8))(x, torch.zeros(400, dtype=torch.int64))
    mirrored = (out - x.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    same = (out - x).abs().amax((1, 2, 3)) < 1e-5
    assert (mirrored | same).all()
    assert 120 < mirrored.sum() < 280


def test_shift_moves_by_at_most_its_limit_and_fills():
    x = torch.ones(200, 1, 21, 21)
    x[:, :, 10, 10] = 0
    out, _ = Augment(AugmentConfig(shift=0.4, fill=1.0), (21, 21))(x, torch.zeros(200, dtype=torch.int64))
    ink = 1 - out[:, 0]
    place = torch.arange(21.0)
    rows, columns = (ink.sum(2) * place).sum(1) / ink.sum((1, 2)), (ink.sum(1) * place).sum(1) / ink.sum((1, 2))
    for centre in (rows, columns):
        assert (centre - 10).abs().max() <= 0.4 * 10.5 + 0.01
        assert centre.std() > 1


def test_rotation_keeps_pixels_square_on_oblong_images():
    """A disc stays a disc, of the same area, when an oblong image is turned."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(32.0), indexing="ij")
    disc = (((y - 31.5) ** 2 + (x - 15.5) ** 2) > 100).float().expand(20, 1, 64, 32)
    out, _ = Augment(AugmentConfig(rotation=90.0, fill=1.0), (64, 32))(disc, torch.zeros(20, dtype=torch.int64))
    assert ((out - disc).abs() > 0.5).float().mean() < 0.01


def test_crop_is_a_part_of_the_image():
    ramp = torch.linspace(0, 1, 64).expand(100, 1, 64, 64)
    out, _ = Augment(AugmentConfig(crop=(0.25, 0.25)), (32, 32))(ramp, torch.zeros(100, dtype=torch.int64))
    span = out[:, 0, 0, -1] - out[:, 0, 0, 0]
    expected = 0.5 * torch.tensor([(3 / 4) ** 0.5, (4 / 3) ** 0.5])
    assert span.min() > expected[0] * 0.9
    assert span.max() < expected[1] * 1.05
    assert out[:, 0, 0, 0].std() > 0.05


def test_pad_moves_by_whole_pixels_to_every_place():
    torch.manual_seed(0)
    x = torch.rand(1, 2, 12, 6)
    out, _ = Augment(AugmentConfig(pad=2, fill=0.25), (12, 6))(x.expand(400, -1, -1, -1), torch.zeros(400).long())
    padded = torch.nn.functional.pad(x[0], (2, 2, 2, 2), value=0.25)
    crops = torch.stack([padded[:, y : y + 12, x : x + 6] for y in range(5) for x in range(5)])
    distance = (out[:, None] - crops[None]).abs().amax((2, 3, 4))
    assert distance.amin(1).max() < 1e-5
    counts = distance.argmin(1).bincount(minlength=25)
    assert counts.min() > 0
    assert counts.max() < 50
    edges, _ = Augment(AugmentConfig(pad=2), (12, 6))(x.expand(50, -1, -1, -1), torch.zeros(50).long())
    crops = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")[0].unfold(1, 12, 1).unfold(2, 6, 1)
    crops = crops.reshape(2, 25, 12, 6).transpose(0, 1)
    assert (edges[:, None] - crops[None]).abs().amax((2, 3, 4)).amin(1).max() < 1e-5


@pytest.mark.parametrize("size", [(64, 64), (64, 32), (96, 32), (20, 90)])
def test_erasing_takes_a_rectangle_of_the_published_sizes(size):
    """Area .02 to .4 of the image, height to width .3 to 3.3 in pixels unless the image is too narrow."""
    torch.manual_seed(0)
    height, width = size
    x = torch.full((600, 1, *size), 2.0)  # outside the range of the noise
    out, _ = Augment(AugmentConfig(erase=0.5), size)(x, torch.zeros(600).long())
    erased = (out != 2)[:, 0]
    chosen = erased.flatten(1).any(1)
    assert 240 < chosen.sum() < 360
    erased = erased[chosen]
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    assert torch.equal(erased.sum((1, 2)), rows * columns)  # a full rectangle
    least, most = ((rows + step) * (columns + step) / (height * width) for step in (1, -1))
    assert (least > 0.02).all()
    assert (most < 0.4).all()
    assert (rows * columns / (height * width)).mean() == pytest.approx(0.21, abs=0.02)
    free = (rows < height) & (columns < width)
    assert ((rows + 1) / (columns - 1).clamp(min=0.1) > 0.3)[free].all()
    assert ((rows - 1) / (columns + 1) < 1 / 0.3)[free].all()
    noise = out[:, 0][chosen][erased]
    assert noise.min() >= 0
    assert noise.max() <= 1
    assert noise.mean() == pytest.approx(0.5, abs=0.01)


RECIPES = {
    "person": (AugmentConfig(flip=True, pad=10, erase=0.5, fill=0.0), (256, 128), (256, 128)),
    "parts": (AugmentConfig(flip=True, pad=10, erase=0.5, fill=0.0), (384, 128), (384, 128)),
    "retrieval": (AugmentConfig(flip=True, crop=(0.16, 1.0)), (256, 256), (227, 227)),
    "face": (AugmentConfig(flip=True), (112, 112), (112, 112)),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_settings_of_the_benchmarks(name, dtype):
    config, decoded, size = RECIPES[name]
    x = torch.randint(0, 256, (4, 3, *decoded), dtype=torch.uint8)
    x = x if dtype == torch.uint8 else x / 255
    views = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        out, labels = Augment(config, size)(x, LABELS[:4])
        assert torch.equal(labels, LABELS[:4])
        views.append(out)
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert views[0].shape == (4, 3, *size)
    assert views[0].dtype == torch.float32
    assert views[0].min() >= -1e-6
    assert views[0].max() <= 1 + 1e-6


ANY_SIZE = ["flip", "crop", "shift", "pad", "erase", "contrast", "blur", "strength", "hue"]


@given(
    height=st.integers(1, 12), width=st.integers(1, 12), to=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.sampled_from([1, 3]), name=st.sampled_from(ANY_SIZE),
)  # fmt: skip
def test_every_size_goes_in_and_out(height, width, to, channels, name):
    torch.manual_seed(0)
    x = torch.rand(2, channels, height, width)
    for config in (AugmentConfig(), AugmentConfig(**{name: ONE_AT_A_TIME[name]})):
        out, _ = Augment(config, to)(x, torch.tensor([0, 1]))
        assert out.shape == (2, channels, *to)
        assert out.isfinite().all()
        assert out.min() >= -1e-5
        assert out.max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pad": -1}, r"augment\.pad: found -1, expected"),
        ({"crop": (0.9, 0.3)}, r"augment\.crop: found \(0.9, 0.3\), expected"),
        ({"crop": (0.0, 0.3)}, r"augment\.crop: found \(0.0, 0.3\), expected"),
        ({"crop": (0.5, 1.5)}, r"augment\.crop: found \(0.5, 1.5\), expected"),
        ({"hue": 0.6}, r"augment\.hue: found 0.6, expected a number from 0 to 0.5"),
        ({"saturation": -0.1}, r"augment\.saturation: found -0.1, expected a number from 0 to 1"),
        ({"grey": 1.1}, r"augment\.grey: found 1.1, expected"),
        ({"blur": float("nan")}, r"augment\.blur: found nan, expected"),
        ({"strength": 9}, r"augment\.strength: found 9, expected"),
        ({"operations": -1}, r"augment\.operations: found -1, expected 0 or more"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**settings)


def test_dihedral_views_are_eight_and_follow_the_label():
    x = torch.rand(1, 1, 8, 8).expand(8, -1, -1, -1)
    views = dihedral_views(x, torch.arange(8))
    assert torch.equal(views[0], x[0])
    square = x[0, 0]
    expected = [torch.rot90(side, turns) for side in (square, square.T) for turns in range(4)]
    assert {tuple(view.flatten().tolist()) for view in views} == {tuple(view.flatten().tolist()) for view in expected}
    out, labels = Augment(AugmentConfig(dihedral_classes=True), (8, 8))(x, 8 * 5 + torch.arange(8))
    torch.testing.assert_close(out, views, atol=1e-5, rtol=0)
    assert torch.equal(labels, 40 + torch.arange(8))
    with pytest.raises(ValueError, match="images: found 8 x 6 pixels, expected square"):
        dihedral_views(torch.rand(8, 1, 8, 6), torch.arange(8))


def test_composed_classes_have_labels_and_ink_of_their_own():
    torch.manual_seed(0)
    x = torch.ones(24, 1, 32, 32)
    x[:, :, 12:20, 12:20] = 0
    out, labels = composed_classes(x, LABELS, 0.5)
    new = labels < 0
    assert 0 < new.sum() < 24
    assert torch.equal(labels[~new], LABELS[~new])
    assert torch.equal(-1 - labels[new], LABELS[new])
    assert torch.equal(out[~new], x[~new])
    for label in labels[new].unique():
        group = out[labels == label]
        torch.testing.assert_close(group, group[:1].expand_as(group))  # one placement for all of a class
    assert (out[new] < 0.5).any(dim=3).any(dim=2).all()
    assert ((out[new] - x[new]).abs().amax((1, 2, 3)) > 0.5).all()


def test_one_class_cannot_be_composed():
    x = torch.rand(4, 1, 8, 8)
    out, labels = composed_classes(x, torch.zeros(4, dtype=torch.int64), 1.0)
    assert torch.equal(out, x)
    assert (labels == 0).all()


def test_warped_classes_are_bent_alike_within_a_class():
    torch.manual_seed(0)
    x = images()[:6].repeat_interleave(4, 0)  # four equal images a class
    out, labels = Augment(AugmentConfig(warped_classes=0.5, fill=1.0), (16, 16))(x, LABELS)
    assert torch.equal(labels, LABELS)
    bent = 0
    for label in range(6):
        group = out[label == LABELS]
        torch.testing.assert_close(group, group[:1].expand_as(group))
        bent += int((group[0] - x[4 * label]).abs().max() > 0.05)
    assert 0 < bent < 6
