"""What a backbone must give, found out by one forward pass before anything is built on it."""

import torch
from torch import Tensor, nn

from circlet.models.mode import evaluating


def probe(backbone: nn.Module, *, channels: int, image_size: tuple[int, int], name: str | None = None) -> Tensor:
    """The features of two images: maps (2, features, height, width) or vectors (2, features), finite floats.

    ValueError for anything else; it calls the backbone `name`, by default its class. On the meta device, values are not
    looked at.

    >>> probe(nn.Conv2d(3, 5, 3), channels=3, image_size=(8, 6)).shape
    torch.Size([2, 5, 6, 4])
    """
    name = name or f"{type(backbone).__module__}.{type(backbone).__qualname__}"
    images = torch.linspace(0, 1, 2 * channels * image_size[0] * image_size[1]).view(2, channels, *image_size)
    expected = (
        "expected feature maps (2, features, height, width) or vectors (2, features) of two images, finite floats"
    )
    with torch.no_grad(), evaluating(backbone):
        try:
            features: object = backbone(images)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"backbone {name}: failed on images {tuple(images.shape)} ({error}), {expected}"
            ) from error
    if not isinstance(features, Tensor):
        raise ValueError(f"backbone {name}: gave {type(features).__name__}, {expected}")
    if features.ndim not in (2, 4) or len(features) != 2 or not features.numel():
        raise ValueError(f"backbone {name}: gave shape {tuple(features.shape)}, {expected}")
    if not features.is_floating_point():
        raise ValueError(f"backbone {name}: gave {features.dtype}, {expected}")
    if not features.is_meta and not features.isfinite().all():
        raise ValueError(f"backbone {name}: gave values that are not finite, {expected}")
    return features
