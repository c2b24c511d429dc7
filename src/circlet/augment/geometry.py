"""What moves pixels: maps from output to input coordinates, so that each pixel is interpolated once.

Coordinates run from -1 to 1 over the whole image, width first, as in `torch.nn.functional.grid_sample`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from circlet.augment.appearance import uniform
from circlet.augment.config import AugmentConfig


def random_maps(images: Tensor, config: AugmentConfig) -> Tensor:
    """(batch, 2, 3) random affine maps from output to input coordinates (-1 to 1)."""
    n = len(images)
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


def identity_grid(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(batch, height, width, 2) coordinates of the output's pixels in the input: the image, scaled to `size`."""
    n, channels = images.shape[:2]
    eye = torch.eye(2, 3, dtype=images.dtype, device=images.device).expand(n, -1, -1)
    return F.affine_grid(eye, [n, channels, *size], align_corners=False)


def apply_maps(maps: Tensor, grid: Tensor) -> Tensor:
    """The grid with each image's affine map applied to its coordinates."""
    n, height, width, _ = grid.shape
    points = torch.baddbmm(maps[:, None, :, 2], grid.reshape(n, -1, 2), maps[:, :, :2].transpose(1, 2))
    return points.view(n, height, width, 2)


def sample(images: Tensor, grid: Tensor, fill: float | None) -> Tensor:
    """The images at the places of the grid; beyond the border lies `fill`, or with None the border's own pixels."""
    if fill is None:
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)
