"""The changes to pixels that RandAugment draws from, each on a batch: as in PIL, with a number for each image.

Images are (batch, channels, height, width), float 0 to 1, one channel or three; what comes out is so, too. PIL rounds
to whole grey values at each change and these do not (posterise and equalise round what comes in), so they differ from
PIL by up to two grey values. What moves pixels is in `strength`.
"""

import torch
from torch import Tensor

from circlet.augment.colour import luma


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by `factor` (batch,)."""
    return _away_from(images.new_zeros(()), images, factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the image's mean luma by `factor` (batch,)."""
    return _away_from(luma(images).mean((1, 2, 3), keepdim=True), images, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the same image in grey by `factor` (batch,); an image of one channel stays."""
    return _away_from(luma(images), images, factor)


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the image smoothed over 3 x 3 pixels by `factor` (batch,); the border stays."""
    smooth = images.clone()
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth[:, :, 1:-1, 1:-1] = around.add_(images[:, :, 1:-1, 1:-1], alpha=4).div_(13)  # the centre counts five times
    return _away_from(smooth, images, factor)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to the full range; a channel of one value stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images).clamp(0, 1)


def equalise(images: Tensor) -> Tensor:
    """Make the 256 grey values of each channel about equally frequent; a channel of one value stays."""
    values = (255 * images).round().clamp(0, 255).long().flatten(2).flatten(0, 1)
    counts = torch.zeros(len(values), 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    last = counts.gather(1, values.amax(1, keepdim=True))
    step = (values.shape[1] - last) // 255
    table = ((counts.cumsum(1) - counts + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return (table.gather(1, values) / 255).view_as(images)


def solarise(images: Tensor, threshold: float) -> Tensor:
    """The negative of all that is at least as bright as `threshold`."""
    return torch.where(images >= threshold, 1 - images, images)


def posterise(images: Tensor, bits: int) -> Tensor:
    """Keep the first `bits` of each grey value's eight."""
    return ((255 * images).round().clamp(0, 255).to(torch.uint8) & (256 - (1 << (8 - bits)))).float() / 255


def _away_from(origin: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """`images` moved away from `origin` by `factor` (0: the origin, 1: as they are), clamped."""
    return torch.lerp(origin, images, factor.view(-1, 1, 1, 1)).clamp_(0, 1)
