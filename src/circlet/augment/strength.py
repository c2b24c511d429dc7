"""Random operations of one strength, after RandAugment (Cubuk et al., CVPR Workshops 2020), on a whole batch.

Each image gets `num` operations out of fourteen, drawn evenly and with repetition, as published:

| operation                 | at strength 1                                         | at strength s                    |
|---------------------------|-------------------------------------------------------|----------------------------------|
| identity                  | nothing                                               |                                  |
| rotate                    | 30 degrees either way                                 | times s                          |
| shear x, shear y          | by .3 of the other side, either way                   | times s                          |
| translate x, translate y  | by .3 of the side, either way                         | times s                          |
| brightness, contrast,     | the factor of PIL's ImageEnhance is .1 or 1.9         | 1 - .9 s or 1 + .9 s             |
| saturation, sharpness     |                                                       |                                  |
| autocontrast, equalise    | in full                                               | mixed with the image, s of it    |
| solarise                  | the negative                                          | of values from 1 - s on          |
| posterise                 | 4 bits a channel                                      | 8 - 4 s bits, rounded            |

Differs from the paper: autocontrast and equalise, which it does in full at any strength, come in by degrees, so that a
small strength is a small change; what moves pixels is done before what does not, whatever the order drawn, and joins
crop and flip in one interpolation, so that an image turned within its crop shows what lies around the crop; what lies
beyond the image is the augmentation's `fill` (there: grey). Magnitudes are constant, as there. The operations were made
for ImageNet: where colour or brightness tell classes apart, they take away what is to be learned.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.augment import operations
from circlet.augment.geometry import composed

Change = Callable[[Tensor, float, Tensor], Tensor]  # of images, strength and signs (batch,): 1 or -1

MOVES = ("rotate", "shear x", "shear y", "translate x", "translate y")
PIXELS: dict[str, Change] = {
    "brightness": lambda images, strength, sign: operations.brightness(images, 1 + 0.9 * strength * sign),
    "contrast": lambda images, strength, sign: operations.contrast(images, 1 + 0.9 * strength * sign),
    "saturation": lambda images, strength, sign: operations.saturation(images, 1 + 0.9 * strength * sign),
    "sharpness": lambda images, strength, sign: operations.sharpness(images, 1 + 0.9 * strength * sign),
    "autocontrast": lambda images, strength, sign: images.lerp(operations.autocontrast(images), strength),
    "equalise": lambda images, strength, sign: images.lerp(operations.equalise(images), strength),
    "solarise": lambda images, strength, sign: operations.solarise(images, 1 - strength),
    "posterise": lambda images, strength, sign: operations.posterise(images, 8 - round(4 * strength)),
}
OPERATIONS = ("identity", *MOVES, *PIXELS)


class Drawn(NamedTuple):
    """What each image of a batch gets; on the CPU, so that no step waits for the device.

    operation: (num, batch) places in OPERATIONS. sign: (num, batch), 1 or -1.
    """

    operation: Tensor
    sign: Tensor


def draw(batch: int, num: int) -> Drawn:
    """Draw `num` operations for each of `batch` images."""
    return Drawn(torch.randint(len(OPERATIONS), (num, batch)), 2.0 * torch.randint(2, (num, batch)) - 1)


def moves(drawn: Drawn, strength: float, size: tuple[int, int]) -> Tensor:
    """(batch, 2, 3) maps from output to input coordinates (-1 to 1) of what moves pixels; size: (height, width)."""
    height, width = size
    maps = torch.eye(2, 3).repeat(drawn.operation.shape[1], 1, 1)
    for operation, sign in zip(*drawn, strict=True):
        rotate, shear_x, shear_y, translate_x, translate_y = (
            strength * sign * (operation == OPERATIONS.index(name)) for name in MOVES
        )
        angle = math.radians(30) * rotate
        rows = [angle.cos(), (0.3 * shear_x - angle.sin()) * height / width, 2 * 0.3 * translate_x,
                (0.3 * shear_y + angle.sin()) * width / height, angle.cos(), 2 * 0.3 * translate_y]  # fmt: skip
        maps = composed(maps, torch.stack(rows, 1).view(-1, 2, 3))
    return maps


def change_pixels(images: Tensor, drawn: Drawn, strength: float) -> Tensor:
    """Do what does not move pixels, in the order drawn, to the images themselves, and give them.

    images: (batch, 1 or 3, height, width), float 0 to 1; changed in place.
    """
    for operation, sign in zip(*drawn, strict=True):
        for name, change in PIXELS.items():
            rows = (operation == OPERATIONS.index(name)).nonzero()[:, 0]
            if len(rows):
                there = rows.to(images.device)
                changed = change(images.index_select(0, there), strength, sign[rows].to(images.device))
                images.index_copy_(0, there, changed)
    return images
