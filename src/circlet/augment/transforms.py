"""Transforms of your own: a function on the images of a batch, by name, and the check of what it gives.

One for single images (albumentations, torchvision, your own) becomes such a function by `each_image` or `each_tensor`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from circlet.extensions import Extensions

Transform = Callable[[Tensor], Tensor]


def _check(label: str, given: Any) -> Transform:
    if not callable(given):
        raise ValueError(f"{label}: found {type(given).__name__}, expected a function of the images of a batch")
    transform: Transform = given() if isinstance(given, type) else given
    return transform


def _none() -> dict[str, Transform]:
    return {}


TRANSFORMS: Extensions[Transform] = Extensions("circlet.transforms", "transform", _none, _check)


def transformed(transform: Transform, name: str, images: Tensor) -> Tensor:
    """The images (batch, channels, height, width) that a transform gives; ValueError that names it for others."""
    found: Any = transform(images)
    what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[:2] != images.shape[:2]:
        raise ValueError(f"transform {name!r}: gave {what} for images of shape {tuple(images.shape)}, expected a "
                         "tensor of the same number of images and channels")  # fmt: skip
    if found.dtype != torch.uint8 and not found.is_floating_point():
        raise ValueError(f"transform {name!r}: gave {found.dtype}, expected torch.uint8, or float 0 to 1")
    if found.is_floating_point() and found.numel():
        if not bool(found.isfinite().all()):
            raise ValueError(f"transform {name!r}: gave NaN or infinity, expected finite images")
        low, high = float(found.min()), float(found.max())
        if low < -0.5 or high > 1.5:  # normalised, or 0 to 255; interpolation may go a little beyond 0 and 1
            raise ValueError(f"transform {name!r}: gave numbers from {low:.3g} to {high:.3g}, expected 0 to 1; leave "
                             "normalising to the model (model.mean, model.std)")  # fmt: skip
        return found.clamp(0, 1)
    return found
