"""Augmentation of a whole batch at once, on whatever device it lies.

Everything geometric (crop, flip, rotation, zoom, aspect, shear, shift, elastic distortion) is composed into one map
from output to input coordinates, and each pixel is interpolated once. Random numbers come from torch's global
generators, so the loop's seed of each step fixes them; a setting of 0 draws none where it is not drawn with others.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from circlet.augment.appearance import change_light, change_strokes, erase
from circlet.augment.blur import change_focus
from circlet.augment.colour import change_colour
from circlet.augment.config import AugmentConfig
from circlet.augment.geometry import COARSEST, apply_maps, composed, halvings, identity_grid, random_maps, sample
from circlet.augment.new_classes import class_warps, composed_classes, dihedral_views
from circlet.augment.strength import change_pixels, draw, moves
from circlet.augment.transforms import TRANSFORMS, transformed


class Augment:
    """Random views: images (batch, channels, H, W), uint8 or float 0 to 1 -> float (batch, channels, *size).

    With dihedral classes, label 8 c + w is class c turned in way w, and the image is turned so.
    """

    def __init__(self, config: AugmentConfig, size: tuple[int, int]) -> None:
        self.config = config
        self.size = size
        self.transform = None if config.transform is None else TRANSFORMS.find(config.transform)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented images and their labels, which change where new classes are made."""
        config = self.config
        if self.transform is not None:
            images = transformed(self.transform, config.transform or "", images)
        images = _as_float(images)
        if config.dihedral_classes:
            images = dihedral_views(images, labels % 8)
        if config.composed_classes:
            images, labels = composed_classes(images, labels, config.composed_classes)
        maps = random_maps(images, config)
        drawn = draw(len(images), config.operations) if config.strength else None
        if drawn is not None:
            maps = composed(maps, moves(drawn, config.strength, self.size).to(maps))
        halved = halvings(images, maps, self.size) if self._shrinks(images) else None
        grid = apply_maps(maps, identity_grid(images, self.size))
        if config.elastic:
            strength = config.elastic * torch.rand(len(images), 1, 1, 1, device=images.device)
            coarse = strength * torch.randn(len(images), 2, 4, 4, device=images.device)
            grid = grid + F.interpolate(coarse, self.size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        if config.warped_classes:
            warps, bends = class_warps(labels, config.warped_classes)
            bend = F.grid_sample(bends, grid, mode="bicubic", padding_mode="border", align_corners=True)
            grid = apply_maps(warps, grid) + bend.permute(0, 2, 3, 1)
        images = sample(images, grid, config.fill, halved)
        if config.stroke:
            images = change_strokes(images, config.stroke)
        if config.brightness or config.contrast:
            images = change_light(images, config.brightness, config.contrast)
        if drawn is not None:
            images = change_pixels(images, drawn, config.strength)
        if config.hue or config.saturation or config.grey:
            images = change_colour(images, config.hue, config.saturation, config.grey)
        if config.blur:
            images = change_focus(images, config.blur)
        if config.erase:
            images = erase(images, config.erase)
        return images, labels

    def _shrinks(self, images: Tensor) -> bool:
        """Whether any view could leave out so many pixels that aliasing shows; known without asking the device."""
        most = math.exp(abs(self.config.zoom))
        return most**2 * images.shape[2] * images.shape[3] > COARSEST**2 * self.size[0] * self.size[1]


def _as_float(images: Tensor) -> Tensor:
    """uint8 images 0 to 255 as float 0 to 1; float images as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images
