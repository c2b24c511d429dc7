"""Transforms made for one image, made into transforms of a batch: those of albumentations, torchvision v2 and your own.

A function of a batch draws once for all of it where torchvision's transforms draw: every image would be cut and turned
alike. These draw for each image, and follow the seed of the training step, as all of circlet's random numbers do.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

Function = Callable[..., Any]
Seed = Callable[[int], object]
Transform = Callable[[Tensor], Tensor]


@overload
def each_image(function: Function, *, seed: Seed | None = None) -> Transform: ...


@overload
def each_image(*, seed: Seed | None = None) -> Callable[[Function], Transform]: ...


def each_image(function: Function | None = None, *, seed: Seed | None = None) -> Any:
    """A transform of a batch, out of a function of one NumPy image (height, width, channels), uint8.

    >>> @each_image
    ... def upside_down(image):
    ...     return image[::-1]
    >>> upside_down(torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8))
    tensor([[[[3, 4], [1, 2]]]], dtype=torch.uint8)

    function: gives an array of the same kind; its size may be another, alike for all, and its dtype float 0 to 1. An
    image of one channel may lose the axis. Use as a decorator or a call. Or a transform of albumentations: what has
    `set_random_seed` is called as `function(image=...)["image"]`, and seeded by that.
    seed: called once a batch with a number from torch's generator, for functions with random numbers of their own. The
    generators of `random` and of NumPy are seeded in any case, and afterwards are as they were.

    The batch goes through the CPU, one image after the other: in a training on a GPU the step waits for it.
    ValueError, with the image's place, for what is no image or of another size than the first.
    """
    if function is None:
        return partial(each_image, seed=seed)
    name, call = _name(function), function
    if hasattr(function, "set_random_seed"):
        seed = seed or function.set_random_seed

        def call(image: Any) -> Any:
            return function(image=image)["image"]

    @wraps(function, updated=())
    def transform(images: Tensor) -> Tensor:
        with _seeded(seed):
            arrays = [call(np.ascontiguousarray(image)) for image in images.permute(0, 2, 3, 1).cpu().numpy()]
        tensors = [_tensor(name, place, array) for place, array in enumerate(arrays)]
        return _stacked(name, tensors).to(images.device) if tensors else images

    return transform


def each_tensor(function: Function) -> Transform:
    """A transform of a batch, out of a function of one image tensor (channels, height, width), uint8, on the device.

    For torchvision's v2 transforms, which draw once a call. Sizes and dtypes, errors and seeds as for `each_image`.
    """
    name = _name(function)

    @wraps(function, updated=())
    def transform(images: Tensor) -> Tensor:
        with _seeded(None):
            changed = [function(image) for image in images]
        for place, image in enumerate(changed):
            if not isinstance(image, Tensor) or image.ndim != 3:
                raise _wrong(name, place, image, "a tensor (channels, height, width)")
        return _stacked(name, changed) if changed else images

    return transform


def _tensor(name: str, place: int, array: Any) -> Tensor:
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3):
        raise _wrong(name, place, array, "a NumPy array (height, width, channels)")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise _wrong(name, place, array, "uint8, or float 0 to 1")
    image = torch.from_numpy(np.ascontiguousarray(array if array.ndim == 3 else array[:, :, None])).permute(2, 0, 1)
    return image.float() if image.is_floating_point() else image


def _stacked(name: str, images: list[Tensor]) -> Tensor:
    forms = [f"{image.dtype} of {image.shape[0]} channels, {image.shape[1]} x {image.shape[2]}" for image in images]
    for place, form in enumerate(forms):
        if form != forms[0]:
            raise ValueError(f"transform {name}: gave {form} pixels for image {place} of the batch, expected "
                             f"{forms[0]} as for image 0: end with a crop or a resize to one size")  # fmt: skip
    return torch.stack(images)


def _wrong(name: str, place: int, found: Any, expected: str) -> ValueError:
    what = type(found).__name__
    if hasattr(found, "shape") and hasattr(found, "dtype"):
        what = f"{what} {tuple(found.shape)} {found.dtype}"
    return ValueError(f"transform {name}: gave {what} for image {place} of the batch, expected {expected}")


def _name(function: Function) -> str:
    if not callable(function):
        raise ValueError(f"function: found {type(function).__name__}, expected a function of one image")
    return str(getattr(function, "__name__", type(function).__name__))


@contextmanager
def _seeded(seed: Seed | None) -> Iterator[None]:
    """Other generators than torch's follow torch's, and are set back."""
    number = int(torch.randint(2**31 - 1, ()))
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (what others' code draws from)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    if seed is not None:
        seed(number)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
