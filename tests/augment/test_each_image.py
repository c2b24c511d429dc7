"""Transforms for single images, as of albumentations and torchvision, on batches; alike seeds give alike views."""

import random
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from circlet.augment import Augment, AugmentConfig, each_image, each_tensor
from circlet.extensions import import_path


class LikeAlbumentations:
    """The call form of albumentations 2: named arguments, a dictionary, random numbers of its own."""

    def __init__(self):
        self.rng = np.random.default_rng()

    def set_random_seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *args, **data):
        if args:
            raise KeyError("You have to pass data to augmentations as named arguments")
        noise = self.rng.integers(0, 50, data["image"].shape)
        return {"image": np.clip(data["image"] + noise, 0, 255).astype(np.uint8)}


class LikeTorchvision(nn.Module):
    """The call form of torchvision v2: a module that draws once a call, from torch's generator."""

    def forward(self, images):
        return images.flip(-1) if torch.rand(()) < 0.5 else images


def with_random(image):
    return np.clip(image + random.randrange(50), 0, 255).astype(np.uint8)


def with_numpy(image):
    return np.clip(image + np.random.randint(50), 0, 255).astype(np.uint8)  # noqa: NPY002


PIPELINE = LikeAlbumentations()


@each_image(seed=PIPELINE.set_random_seed)
def decorated(image):
    return PIPELINE(image=image)["image"]


TRANSFORMS = {
    "albumentations": each_image(LikeAlbumentations()), "decorated": decorated, "random": each_image(with_random),
    "numpy": each_image(with_numpy), "torchvision": each_tensor(LikeTorchvision()),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_draws_alone_and_follows_torchs_seed(name, channels):
    x = torch.randint(0, 200, (1, channels, 6, 9), dtype=torch.uint8).expand(12, -1, -1, -1)
    views = []
    for seed in (0, 0, 1):
        random.seed(seed + len(views))  # whatever the others' generators are at
        np.random.seed(seed + len(views))  # noqa: NPY002
        torch.manual_seed(seed)
        views.append(TRANSFORMS[name](x))
    assert views[0].shape == x.shape
    assert views[0].dtype == torch.uint8
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert len(views[0].flatten(1).unique(dim=0)) > 1  # not alike in all of the batch


def test_the_other_generators_are_left_as_they_were():
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    TRANSFORMS["random"](torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ZeroDivisionError):
        each_image(lambda image: 1 / 0)(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_images_are_passed_whole_and_may_change_their_size():
    x = torch.randint(0, 256, (3, 3, 8, 6), dtype=torch.uint8)
    seen = []

    def half(image):
        seen.append(image)
        return image[::2, ::-2]

    out = each_image(half)(x)
    assert torch.equal(out, x[:, :, ::2].flip(3)[..., ::2])
    assert all(image.flags["C_CONTIGUOUS"] and image.shape == (8, 6, 3) for image in seen)
    floats = each_image(lambda image: image / 255)(x)
    torch.testing.assert_close(floats, x / 255)
    flat = each_image(lambda image: image[:, :, 0])(x[:, :1])
    assert torch.equal(flat, x[:, :1])
    assert each_image(half)(x[:0]).shape == each_tensor(half)(x[:0]).shape == (0, 3, 8, 6)


def test_a_run_can_find_a_decorated_function_again():
    assert import_path(decorated) == f"{__name__}:decorated"
    assert with_random.__name__ == each_image(with_random).__name__


@pytest.fixture
def named():
    module = types.ModuleType("their_transforms")
    sys.modules["their_transforms"] = module
    yield module
    del sys.modules["their_transforms"]


@pytest.mark.parametrize("given", [LikeTorchvision, LikeTorchvision(), each_tensor(LikeTorchvision())])
def test_modules_and_classes_of_modules_go_in_by_name(named, given):
    named.flip = given
    augment = Augment(AugmentConfig(transform="their_transforms:flip"), (8, 8))
    out, _ = augment(torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), torch.arange(4))
    assert out.shape == (4, 3, 8, 8)
    assert out.dtype == torch.float32


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image: {"image": image}, r"gave dict for image 0 of the batch, expected a NumPy array \(height, width"),
        (lambda image: torch.from_numpy(image), r"gave Tensor \(8, 6, 3\) torch\.uint8 for image 0 .*a NumPy array"),
        (lambda image: image.astype(np.int64), r"gave ndarray \(8, 6, 3\) int64 for image 0 .*uint8, or float"),
        (lambda image: image[: 1 + image[0, 0, 0]], r"gave torch\.uint8 of 3 channels, 2 x 6 pixels for image 1 "),
    ],
)
def test_what_is_no_image_is_named_with_its_place(function, message):
    x = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(-1, 3, 8, 6)
    with pytest.raises(ValueError, match=f"transform <lambda>: {message}"):
        each_image(function)(x)


def test_tensors_and_functions_are_checked():
    with pytest.raises(ValueError, match=r"transform <lambda>: gave float for image 0 of the batch, expected a tensor"):
        each_tensor(lambda image: 0.5)(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="function: found int, expected a function of one image"):
        each_image(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda images: images.float(),
            r"gave numbers from .* to 255, expected 0 to 1; leave normalising to the model",
        ),
        (lambda images: images / 255 * 2 - 1, r"gave numbers from -1 to 1, expected 0 to 1"),
        (lambda images: images.long(), r"gave torch\.int64, expected torch\.uint8, or float 0 to 1"),
        (lambda images: images / 0.0, r"gave NaN or infinity"),
    ],
)
def test_transforms_that_normalise_are_refused(named, change, message):
    named.change = change
    x = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(2, 3, 4, -1)
    with pytest.raises(ValueError, match=f"transform 'their_transforms:change': {message}"):
        Augment(AugmentConfig(transform="their_transforms:change"), (4, 2))(x, torch.arange(2))


def test_a_little_beyond_the_range_is_clamped(named):
    named.change = lambda images: images / 255 * 1.2 - 0.1
    x = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(2, 3, 4, -1)
    out, _ = Augment(AugmentConfig(transform="their_transforms:change"), (4, 2))(x, torch.arange(2))
    torch.testing.assert_close(out, x / 255)
