"""Augmentation of a whole batch at once, on whatever device it lies, and the plain view used for testing.

Everything geometric (crop, flip, rotation, zoom, aspect, shear, shift, elastic distortion) is composed into one map
from output to input coordinates, and each pixel is interpolated once. Random numbers come from torch's global
generator, so the loop's seed of each step fixes them.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from circlet.data.new_classes import class_warps, composed_classes, dihedral_views
from circlet.data.pixel_changes import change_light, change_strokes, erase, uniform


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random changes to a training image; 0 is none."""

    flip: bool = False
    """Mirror half of the images."""
    crop: tuple[float, float] | None = None
    """Random resized crop: range of the share of the area that is kept (aspect 3:4 to 4:3)."""
    rotation: float = 0.0
    """Degrees to either side."""
    zoom: float = 0.0
    """Zoom by a factor between exp(-zoom) and exp(zoom)."""
    aspect: float = 0.0
    """Stretch by a factor between exp(-aspect) and exp(aspect)."""
    shear: float = 0.0
    """Largest shear, as a fraction of the height."""
    shift: float = 0.0
    """Largest shift, as a fraction of half the image."""
    pad: int = 0
    """Move by a whole number of pixels, up to this many each way: padding by `fill`, and a random crop."""
    elastic: float = 0.0
    """Largest standard deviation of a smooth random displacement, as a fraction of half the image."""
    stroke: float = 0.0
    """Share of the images whose strokes are made thicker or thinner, with the contrast; for ink on white."""
    brightness: float = 0.0
    """Add up to this much to all pixels (0 to 1)."""
    contrast: float = 0.0
    """Scale about the mean by 1 - contrast to 1 + contrast."""
    erase: float = 0.0
    """Share of the images in which a rectangle (2 to 40 % of the area) becomes noise: random erasing."""
    dihedral_classes: bool = False
    """Turned and mirrored images are new classes: eight for each class. For characters and other square drawings."""
    composed_classes: float = 0.0
    """Share of a batch's classes that become new ones, drawn together from two; for pair-wise labels only."""
    warped_classes: float = 0.0
    """Share of a batch's classes that become new ones, bent, all images alike; for pair-wise labels only."""
    fill: float | None = None
    """What lies beyond the border: a grey value (1 = white), or None: the border's own pixels."""

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"augment.pad: found {self.pad}, expected a number of pixels, 0 or more")
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"augment.crop: found {self.crop}, expected a range of shares of the area, within 0 to 1")

    @property
    def views(self) -> int:
        """How many classes each class of the data becomes."""
        return 8 if self.dihedral_classes else 1


class Augment:
    """Random views: images (batch, channels, H, W), uint8 or float 0 to 1 -> float (batch, channels, *size).

    With dihedral classes, label 8 c + w is class c turned in way w, and the image is turned so.
    """

    def __init__(self, config: AugmentConfig, size: tuple[int, int]) -> None:
        self.config = config
        self.size = size

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented images and their labels, which change where new classes are made."""
        config = self.config
        images = as_float(images)
        if config.dihedral_classes:
            images = dihedral_views(images, labels % 8)
        if config.composed_classes:
            images, labels = composed_classes(images, labels, config.composed_classes)
        grid = _apply(self._maps(images), _identity(images, self.size))
        if config.elastic:
            strength = config.elastic * torch.rand(len(images), 1, 1, 1, device=images.device)
            coarse = strength * torch.randn(len(images), 2, 4, 4, device=images.device)
            grid = grid + F.interpolate(coarse, self.size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        if config.warped_classes:
            maps, bends = class_warps(labels, config.warped_classes)
            bend = F.grid_sample(bends, grid, mode="bicubic", padding_mode="border", align_corners=True)
            grid = _apply(maps, grid) + bend.permute(0, 2, 3, 1)
        images = _sample(images, grid, config.fill)
        if config.stroke:
            images = change_strokes(images, config.stroke)
        if config.brightness or config.contrast:
            images = change_light(images, config.brightness, config.contrast)
        if config.erase:
            images = erase(images, config.erase)
        return images, labels

    def _maps(self, images: Tensor) -> Tensor:
        """(batch, 2, 3) random affine maps from output to input coordinates (-1 to 1)."""
        config, n = self.config, len(images)
        zero = images.new_zeros(n)
        angle = uniform(images, math.radians(config.rotation))
        zoom, aspect = uniform(images, config.zoom).exp(), uniform(images, config.aspect).exp()
        shear = uniform(images, config.shear)
        rotate = _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
        maps = rotate @ _matrix(zoom * aspect, shear, zero, zoom / aspect)
        shift = torch.stack([uniform(images, config.shift), uniform(images, config.shift)], 1)
        height, width = images.shape[2:]
        pixels = torch.tensor([width, height], dtype=images.dtype, device=images.device)
        if config.pad:
            shift = shift + 2 * torch.randint(-config.pad, config.pad + 1, (n, 2), device=images.device) / pixels
        if config.crop is not None:
            low, high = config.crop
            area = low + (high - low) * torch.rand(n, device=images.device)
            ratio = uniform(images, math.log(4 / 3)).exp().sqrt()
            size = torch.stack([area.sqrt() * ratio, area.sqrt() / ratio], 1).clamp(max=1.0)
            shift = shift + (1 - size) * (2 * torch.rand(n, 2, device=images.device) - 1)
            maps = maps * size[:, None, :]
        if config.flip:
            sign = torch.where(torch.rand(n, device=images.device) < 0.5, -1.0, 1.0)
            maps = maps * torch.stack([sign, torch.ones_like(sign)], 1)[:, None, :]
        maps = maps * pixels[None, None, :] / pixels[None, :, None]  # turn and shear in pixels: nothing is squeezed
        return torch.cat([maps, shift[:, :, None]], 2)


def plain_view(images: Tensor, size: tuple[int, int], view: float = 1.0) -> Tensor:
    """The central `view` (share of each side) of the images, scaled to `size`: what a model is tested on.

    Where nothing is left to scale, as for the central 227 of 256 pixels, the pixels are cut out as they are.

    >>> plain_view(torch.full((2, 1, 8, 8), 255, dtype=torch.uint8), (4, 4)).unique()
    tensor([1.])
    """
    images = as_float(images)
    height, width = images.shape[2:]
    if (round(view * height), round(view * width)) == size:
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        return images[:, :, top : top + size[0], left : left + size[1]]
    return _sample(images, view * _identity(images, size), None)


def as_float(images: Tensor) -> Tensor:
    """uint8 images 0 to 255 as float 0 to 1; float images as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _identity(images: Tensor, size: tuple[int, int]) -> Tensor:
    n, channels = images.shape[:2]
    eye = torch.eye(2, 3, dtype=images.dtype, device=images.device).expand(n, -1, -1)
    return F.affine_grid(eye, [n, channels, *size], align_corners=False)


def _apply(maps: Tensor, grid: Tensor) -> Tensor:
    n, height, width, _ = grid.shape
    points = torch.baddbmm(maps[:, None, :, 2], grid.reshape(n, -1, 2), maps[:, :, :2].transpose(1, 2))
    return points.view(n, height, width, 2)


def _sample(images: Tensor, grid: Tensor, fill: float | None) -> Tensor:
    if fill is None:
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)
