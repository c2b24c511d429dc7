"""Transforms of your own: a function on the images of a batch, by name, and the check of what it gives.

torchvision's v2 transforms are such functions; one for single images is mapped over the batch by whoever brings it.
"""

from collections.abc import Callable
from typing import Any

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
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise ValueError(f"transform {name!r}: gave NaN or infinity, expected finite images")
    return found
