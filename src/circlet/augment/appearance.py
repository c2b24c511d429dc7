"""Random changes to the pixels of a batch that move nothing: strokes, light, erasing.

Images are (batch, channels, height, width), float 0 to 1. What moves pixels is in `geometry`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def change_strokes(images: Tensor, share: float) -> Tensor:
    """Thicken about 60 % of the chosen share of the images, thin the rest; vary the ink of all. Ink is dark."""
    n, device = len(images), images.device
    ink = 1 - images
    kind, amount = torch.rand(n, 1, 1, 1, device=device), torch.rand(n, 1, 1, 1, device=device)
    thick = F.max_pool2d(ink, 3, 1, 1)
    thin = -F.max_pool2d(-F.pad(ink, (0, 1, 0, 1)), 2, 1)
    ink = torch.where(kind < 0.6 * share, ink.lerp(thick, 0.8 * amount), ink)
    ink = torch.where((kind >= 0.6 * share) & (kind < share), ink.lerp(thin, 0.6 * amount), ink)
    return 1 - (ink * (0.8 + 0.6 * torch.rand(n, 1, 1, 1, device=device))).clamp(0, 1)


def change_light(images: Tensor, brightness: float, contrast: float) -> Tensor:
    """Scale about the mean by 1 - contrast to 1 + contrast, add up to `brightness` either way; clamped to 0 to 1."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    scale, offset = 1 + uniform(images, contrast), uniform(images, brightness)
    changed = images - mean
    return changed.mul_(scale.view_as(mean)).add_(mean).add_(offset.view_as(mean)).clamp_(0, 1)


def erase(images: Tensor, share: float) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020): area .02 to .4, height to width .3 to 3.3 where that fits."""
    n, _, height, width = images.shape
    device = images.device
    area = 0.02 + 0.38 * torch.rand(n, device=device)
    aspect = uniform(images, -math.log(0.3)).exp() * width / height  # of the sides as shares of the image's
    aspect = aspect.clamp(area, 1 / area)
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1)
    start = (1 - sides) * torch.rand(n, 2, device=device)
    inside = torch.rand(n, device=device)[:, None, None] < share
    for axis, length in ((0, height), (1, width)):
        place = (torch.arange(length, device=device) + 0.5) / length
        within = (place >= start[:, axis, None]) & (place < (start + sides)[:, axis, None])
        inside = inside & (within[:, :, None] if axis == 0 else within[:, None, :])
    noise = torch.rand_like(images)
    return torch.where(inside[:, None], noise, images, out=noise)


def uniform(images: Tensor, limit: float) -> Tensor:
    """(batch,) numbers between -limit and limit."""
    return limit * (2 * torch.rand(len(images), device=images.device) - 1)
