"""Random colours of a batch: hue, saturation and grey, as one 3 x 3 matrix an image.

The matrix turns and scales the two colour axes of YIQ (NTSC 1953) and leaves the luma Y alone. HSV, the other custom,
keeps the largest channel: there, yellow turned to blue loses nine tenths of its light, and a conversion costs some
twenty passes over the pixels where this costs one. Saturation is what torchvision and PIL (`ImageEnhance.Color`) do.

A grey image (one channel) has no colour: nothing here changes it. Other numbers of channels than 1 and 3 are an error.
Images are (batch, channels, height, width), float 0 to 1.
"""

import math

import torch
from torch import Tensor

from circlet.augment.appearance import uniform

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as PIL's mode L
_IN_PHASE = (0.7355, -0.2684)  # I and Q, as multiples of red - Y and blue - Y
_QUADRATURE = (0.4777, 0.4133)


def change_colour(images: Tensor, hue: float, saturation: float, grey: float) -> Tensor:
    """Turn the hue by up to `hue` of the circle, scale the colour by 1 - saturation to 1 + saturation, or remove it.

    hue: 0 to .5, either way. saturation: 0 to 1. grey: share of the images that become grey. Clamped to 0 to 1, which
    makes colours at the edge of the range a little paler. ValueError for other than 1 or 3 channels.
    """
    if is_grey(images):
        return images
    turn, scale = uniform(images, hue), 1 + uniform(images, saturation)
    scale = torch.where(torch.rand(len(images), device=images.device) < grey, 0.0, scale)
    return recoloured(images, turn, scale)


def recoloured(images: Tensor, turn: Tensor, scale: Tensor) -> Tensor:
    """The images (batch, 3, height, width) with their hue turned and their colour scaled; luma kept, then clamped.

    turn: (batch,) shares of the colour circle; a third takes red to green. scale: (batch,) 0 is grey, 1 as it is.
    """
    to_yiq = _to_yiq()
    from_yiq = torch.linalg.inv(to_yiq).to(images.device)
    angle, one, zero = -2 * math.pi * turn, torch.ones_like(turn), torch.zeros_like(turn)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    change = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    matrix = from_yiq @ change @ to_yiq.to(images.device)
    return torch.bmm(matrix.to(images), images.flatten(2)).view_as(images).clamp_(0, 1)


def luma(images: Tensor) -> Tensor:
    """(batch, 1, height, width) brightness as the eye has it; ValueError for other than 1 or 3 channels."""
    if is_grey(images):
        return images
    red, green, blue = images.split(1, dim=1)
    grey: Tensor = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return grey


def is_grey(images: Tensor) -> bool:
    """Whether the images have one channel; ValueError for other than 1 or 3."""
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images: found {images.shape[1]} channels, expected 1 or 3 for augment.hue, saturation, grey "
                         "and strength")  # fmt: skip
    return images.shape[1] == 1


def _to_yiq() -> Tensor:
    y = torch.tensor(LUMA)
    red, blue = torch.tensor([1.0, 0.0, 0.0]) - y, torch.tensor([0.0, 0.0, 1.0]) - y
    rows = [y, *(a * red + b * blue for a, b in (_IN_PHASE, _QUADRATURE))]
    return torch.stack(rows)
