"""Random resized crop as published: Szegedy et al., "Going deeper with convolutions" (CVPR 2015), section 6.

The form of torchvision's `RandomResizedCrop`, for a whole batch at once, with sides and places that need not be whole
pixels. The crop joins the map of `geometry`, so it is interpolated once with everything else.
"""

import math

import torch
from torch import Tensor

ASPECT = (3 / 4, 4 / 3)  # width to height, in pixels
TRIES = 10


def random_crops(images: Tensor, area: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """(batch, 2) widths and heights of crops, and (batch, 2) their centres, x first.

    area: range of the share of the image's area that is kept, drawn evenly; width to height is drawn evenly in its
    logarithm. The first of ten tries that fits into the image is taken; where none does, the largest centred crop of an
    aspect that is allowed, whatever its area. Sides are shares of the image's; centres run from -1 to 1 over it.
    """
    n, (height, width), device = len(images), images.shape[2:], images.device
    low, high = math.log(ASPECT[0]), math.log(ASPECT[1])
    share = area[0] + (area[1] - area[0]) * torch.rand(n, TRIES, device=device)
    ratio = (low + (high - low) * torch.rand(n, TRIES, device=device)).exp() * height / width  # of shares of the sides
    sides = torch.stack([(share * ratio).sqrt(), (share / ratio).sqrt()], 2)
    fits = (sides <= 1).all(2)
    first = fits.int().argmax(1)
    chosen = sides[torch.arange(n, device=device), first]
    found = fits.any(1)[:, None]
    whole = width / height
    kept = max(ASPECT[0], min(ASPECT[1], whole))  # the central crop's aspect
    chosen = torch.where(found, chosen, chosen.new_tensor([min(1.0, kept / whole), min(1.0, whole / kept)]))
    place = 2 * torch.rand(n, 2, device=device) - 1
    return chosen, torch.where(found, (1 - chosen) * place, 0.0)
