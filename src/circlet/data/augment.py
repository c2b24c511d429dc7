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
    elastic: float = 0.0
    """Largest standard deviation of a smooth random displacement, as a fraction of half the image."""
    stroke: float = 0.0
    """Share of the images whose strokes are made thicker or thinner, with the contrast; for ink on white."""
    brightness: float = 0.0
    """Add up to this much to all pixels (0 to 1)."""
    contrast: float = 0.0
    """Scale about the mean by 1 - contrast to 1 + contrast."""
    erase: float = 0.0
    """Share of the images in which a rectangle (2 to 33 % of the area) becomes grey noise."""
    dihedral_classes: bool = False
    """Turned and mirrored images are new classes: eight for each class. For characters and other square drawings."""
    composed_classes: float = 0.0
    """Share of a batch's classes that become new ones, drawn together from two; for pair-wise labels only."""
    warped_classes: float = 0.0
    """Share of a batch's classes that become new ones, bent, all images alike; for pair-wise labels only."""
    fill: float | None = None
    """What lies beyond the border: a grey value (1 = white), or None: the border's own pixels."""

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
            images = _change_strokes(images, config.stroke)
        if config.brightness or config.contrast:
            mean = images.mean(dim=(1, 2, 3), keepdim=True)
            scale, offset = 1 + _uniform(images, config.contrast), _uniform(images, config.brightness)
            images = ((images - mean) * scale.view_as(mean) + mean + offset.view_as(mean)).clamp(0, 1)
        if config.erase:
            images = _erase(images, config.erase)
        return images, labels

    def _maps(self, images: Tensor) -> Tensor:
        """(batch, 2, 3) random affine maps from output to input coordinates (-1 to 1)."""
        config, n = self.config, len(images)
        zero = images.new_zeros(n)
        angle = _uniform(images, math.radians(config.rotation))
        zoom, aspect = _uniform(images, config.zoom).exp(), _uniform(images, config.aspect).exp()
        shear = _uniform(images, config.shear)
        rotate = _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
        maps = rotate @ _matrix(zoom * aspect, shear, zero, zoom / aspect)
        shift = torch.stack([_uniform(images, config.shift), _uniform(images, config.shift)], 1)
        if config.crop is not None:
            low, high = config.crop
            area = low + (high - low) * torch.rand(n, device=images.device)
            ratio = _uniform(images, math.log(4 / 3)).exp().sqrt()
            size = torch.stack([area.sqrt() * ratio, area.sqrt() / ratio], 1).clamp(max=1.0)
            shift = shift + (1 - size) * (2 * torch.rand(n, 2, device=images.device) - 1)
            maps = maps * size[:, None, :]
        if config.flip:
            sign = torch.where(torch.rand(n, device=images.device) < 0.5, -1.0, 1.0)
            maps = maps * torch.stack([sign, torch.ones_like(sign)], 1)[:, None, :]
        height, width = images.shape[2:]  # rotate and shear in pixels, so that nothing is squeezed
        pixels = torch.tensor([width, height], dtype=images.dtype, device=images.device)
        maps = maps * pixels[None, None, :] / pixels[None, :, None]
        return torch.cat([maps, shift[:, :, None]], 2)


def plain_view(images: Tensor, size: tuple[int, int], view: float = 1.0) -> Tensor:
    """The central `view` (share of each side) of the images, scaled to `size`: what a model is tested on.

    >>> plain_view(torch.full((2, 1, 8, 8), 255, dtype=torch.uint8), (4, 4)).unique()
    tensor([1.])
    """
    images = as_float(images)
    if images.shape[2:] == size and view == 1.0:
        return images
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


def _uniform(images: Tensor, limit: float) -> Tensor:
    """(batch,) numbers between -limit and limit."""
    return limit * (2 * torch.rand(len(images), device=images.device) - 1)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)


def _change_strokes(images: Tensor, share: float) -> Tensor:
    """Thicken about 60 % of the chosen share of the images, thin the rest; vary the ink of all. Ink is dark."""
    n, device = len(images), images.device
    ink = 1 - images
    kind, amount = torch.rand(n, 1, 1, 1, device=device), torch.rand(n, 1, 1, 1, device=device)
    thick = F.max_pool2d(ink, 3, 1, 1)
    thin = -F.max_pool2d(-F.pad(ink, (0, 1, 0, 1)), 2, 1)
    ink = torch.where(kind < 0.6 * share, ink.lerp(thick, 0.8 * amount), ink)
    ink = torch.where((kind >= 0.6 * share) & (kind < share), ink.lerp(thin, 0.6 * amount), ink)
    return 1 - (ink * (0.8 + 0.6 * torch.rand(n, 1, 1, 1, device=device))).clamp(0, 1)


def _erase(images: Tensor, share: float) -> Tensor:
    """Random erasing (Zhong et al. 2020), area .02 to .33, aspect .3 to 3.3."""
    n, _, height, width = images.shape
    device = images.device
    area = 0.02 + 0.31 * torch.rand(n, device=device)
    ratio = _uniform(images, math.log(3.3)).exp().sqrt()
    sides = torch.stack([area.sqrt() * ratio, area.sqrt() / ratio], 1).clamp(max=1.0)
    start = (1 - sides) * torch.rand(n, 2, device=device)
    inside = torch.rand(n, device=device)[:, None, None] < share
    for axis, length in ((0, height), (1, width)):
        place = (torch.arange(length, device=device) + 0.5) / length
        within = (place >= start[:, axis, None]) & (place < (start + sides)[:, axis, None])
        inside = inside & (within[:, :, None] if axis == 0 else within[:, None, :])
    return torch.where(inside[:, None], torch.rand_like(images), images)
