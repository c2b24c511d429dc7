"""What a backbone is, one of your own too, and what it must give: found out before anything is built on it."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from circlet.models.mode import evaluating

EXPECTED = "expected feature maps (2, features, height, width) or vectors (2, features), finite floats"


@dataclass(frozen=True)
class OwnBackbone:
    """A function or class `(channels, **options)` that makes a network, and what to call it in messages."""

    label: str
    make: Callable[..., nn.Module]

    def __call__(self, channels: int, **options: Any) -> nn.Module:
        """The network; a ValueError where the function gives something else."""
        made: object = self.make(channels, **options)
        if not isinstance(made, nn.Module):
            raise ValueError(f"{self.label}: gave {type(made).__name__}, expected a torch.nn.Module")
        return made

    def accepts(self, option: str) -> bool:
        """Whether the function names this option as a parameter."""
        return option in inspect.signature(self.make).parameters


def as_backbone(label: str, given: Any) -> OwnBackbone:
    """A backbone from outside this library; ValueError for what is neither a function, a class nor a module.

    >>> as_backbone("backbone 'mine'", lambda channels, width=8: nn.Conv2d(channels, width, 3))(3, width=5).out_channels
    5

    given: `(channels, **options) -> torch.nn.Module`, or a module as it is, which has no options. label: what messages
    begin with, such as "backbone 'package.module:name'".
    """
    if isinstance(given, nn.Module):
        return OwnBackbone(label, lambda channels: given)
    if not callable(given):
        raise ValueError(f"{label}: found {type(given).__name__}, expected a torch.nn.Module, or a function "
                         "(channels, **options) that makes one")  # fmt: skip
    return OwnBackbone(label, given)


def probe(backbone: nn.Module, *, channels: int, image_size: tuple[int, int], label: str | None = None) -> Tensor:
    """The features of two images: maps (2, features, height, width) or vectors (2, features), finite floats.

    >>> probe(nn.Conv2d(3, 5, 3), channels=3, image_size=(8, 6)).shape
    torch.Size([2, 5, 6, 4])

    ValueError for anything else; it begins with `label`, by default the name of the backbone's class. The images are
    made on the backbone's device; on the meta device, values are not looked at.
    """
    label = label or f"backbone {type(backbone).__module__}.{type(backbone).__qualname__}"
    shape = (2, channels, *image_size)
    device = next((tensor.device for tensor in backbone.parameters()), None)
    images = torch.linspace(0, 1, math.prod(shape), device=device).view(shape)
    with torch.no_grad(), evaluating(backbone):
        try:
            features: object = backbone(images)
        except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{label}: failed on images {shape} ({reason}), {EXPECTED}") from error
    if not isinstance(features, Tensor):
        raise ValueError(f"{label}: gave {type(features).__name__}, {EXPECTED}")
    if features.ndim not in (2, 4) or len(features) != 2 or not features.numel():
        raise ValueError(f"{label}: gave shape {tuple(features.shape)}, {EXPECTED}")
    if not features.is_floating_point():
        raise ValueError(f"{label}: gave {features.dtype}, {EXPECTED}")
    if not features.is_meta and not features.isfinite().all():
        raise ValueError(f"{label}: gave values that are not finite, {EXPECTED}")
    return features
