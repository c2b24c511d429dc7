"""What moves pixels: maps from output to input coordinates, so that each pixel is interpolated once.

Coordinates run from -1 to 1 over the whole image, width first, as in `torch.nn.functional.grid_sample`. Interpolation
is bilinear, which skips pixels where an image gets much smaller: such images are halved by averages first.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from circlet.augment.appearance import uniform
from circlet.augment.config import AugmentConfig
from circlet.augment.crops import random_crops

COARSEST = 1.5  # input pixels between neighbours of the output; beyond, aliasing shows


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
        sides, centres = random_crops(images, config.crop)
        shift = shift + centres
        maps = maps * sides[:, None, :]
    if config.flip:
        sign = torch.where(torch.rand(n, device=images.device) < 0.5, -1.0, 1.0)
        maps = maps * torch.stack([sign, torch.ones_like(sign)], 1)[:, None, :]
    maps = maps * pixels[None, None, :] / pixels[None, :, None]  # turn and shear in pixels: nothing is squeezed
    return torch.cat([maps, shift[:, :, None]], 2)


def identity_grid(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(batch, height, width, 2) coordinates of the output's pixels in the input: the image, scaled to `size`."""
    eye = torch.eye(2, 3, dtype=images.dtype, device=images.device)[None]
    return F.affine_grid(eye, [1, images.shape[1], *size], align_corners=False).expand(len(images), -1, -1, -1)


def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """(batch, 2, 3) maps that do `inner` first, then `outer`."""
    linear = outer[:, :, :2]
    return torch.cat([linear @ inner[:, :, :2], linear @ inner[:, :, 2:] + outer[:, :, 2:]], 2)


def apply_maps(maps: Tensor, grid: Tensor) -> Tensor:
    """The grid with each image's affine map applied to its coordinates."""
    n, height, width, _ = grid.shape
    points = torch.baddbmm(maps[:, None, :, 2], grid.reshape(n, -1, 2), maps[:, :, :2].transpose(1, 2))
    return points.view(n, height, width, 2)


def halvings(images: Tensor, maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(batch,) how often to halve each image, so that at most 1.5 of its pixels lie between neighbours of the output.

    maps: (batch, 2, 3), from an output of `size` (height, width) to the images; their mean scale counts, not the
    larger of two unlike ones.
    """
    pixels = images.shape[2] * images.shape[3] / (size[0] * size[1])
    area = maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]
    step: Tensor = (pixels * area.abs()).sqrt()
    return (step / COARSEST).log2().ceil().clamp(min=0).long()


def sample(images: Tensor, grid: Tensor, fill: float | None, halved: Tensor | None = None) -> Tensor:
    """The images at the places of the grid; beyond the border lies `fill`, or with None the border's own pixels.

    halved: (batch,) how often each image is halved first, as `halvings` gives it; None: never.
    """
    if halved is not None and bool((halved > 0).any()):
        sampled = images.new_empty(*images.shape[:2], *grid.shape[1:3])
        for times in halved.unique().tolist():
            rows = (halved == times).nonzero()[:, 0]
            smaller = _averaged(images.index_select(0, rows), 2**times)  # whole images: faster than by [rows]
            sampled.index_copy_(0, rows, sample(smaller, grid.index_select(0, rows), fill))
        return sampled
    if fill is None:
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


def _averaged(images: Tensor, step: int) -> Tensor:
    """The images with sides of a `step`-th, rounded up; each pixel is a mean of those it stands for."""
    if images.shape[2] % step or images.shape[3] % step:
        return F.interpolate(images, [math.ceil(side / step) for side in images.shape[2:]], mode="area")
    return images if step == 1 else F.avg_pool2d(images, step)  # the same, on a CPU ten times as fast


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)
