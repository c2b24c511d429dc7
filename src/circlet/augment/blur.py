"""Gaussian blur of some images of a batch, each by a width of its own, as SimCLR has it.

Images are (batch, channels, height, width), float 0 to 1. Beyond the border lie the border's own pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA = (0.1, 2.0)  # pixels, at 224 x 224 (Chen et al., "A Simple Framework for Contrastive Learning", ICML 2020)
REACH = 3  # the kernel ends at so many of the largest sigma


def change_focus(images: Tensor, share: float) -> Tensor:
    """Blur `share` of the images by a Gaussian of .1 to 2 pixels at 224 x 224, scaled to the images' size; in place."""
    chosen = (torch.rand(len(images)) < share).nonzero()[:, 0]  # drawn on the CPU: no step waits for the device
    if len(chosen) == 0:
        return images
    scale = math.sqrt(images.shape[2] * images.shape[3]) / 224
    low, high = SIGMA
    sigma = scale * (low + (high - low) * torch.rand(len(chosen)))
    rows = chosen.to(images.device)
    blurred = blur(images.index_select(0, rows), sigma.to(images.device), radius=math.ceil(REACH * high * scale))
    return images.index_copy_(0, rows, blurred)


def blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """The images blurred by a Gaussian of `sigma` (batch,) pixels, cut off beyond `radius` pixels.

    >>> spot = torch.zeros(1, 1, 5, 5)
    >>> spot[0, 0, 2, 2] = 1.0
    >>> blur(spot, torch.tensor([0.5]), radius=2)[0, 0, 2].round(decimals=3)
    tensor([0.0000, 0.0840, 0.6190, 0.0840, 0.0000])
    """
    n, channels, height, width = images.shape
    places = torch.arange(-radius, radius + 1, device=images.device)
    taps = torch.softmax(-0.5 * (places / sigma[:, None]) ** 2, 1).repeat_interleave(channels, 0)
    padded = F.pad(images, (radius,) * 4, mode="replicate").reshape(1, n * channels, -1, width + 2 * radius)
    rows = F.conv2d(padded, taps[:, None, None, :], groups=n * channels)
    return F.conv2d(rows, taps[:, None, :, None], groups=n * channels).view(n, channels, height, width)
