"""New training classes out of old ones: turned, mirrored, composed and bent drawings.

An embedding must tell apart classes it has never seen, so more classes help more than more images of each. A turned
character is another character.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def dihedral_views(images: Tensor, ways: Tensor) -> Tensor:
    """Turn and mirror each image in one of the eight ways of a square; way 0 leaves it as it is.

    images: (batch, channels, side, side). ways: (batch,) integers 0 to 7.
    """
    if images.shape[2] != images.shape[3]:
        raise ValueError(f"images: found {images.shape[2]} x {images.shape[3]} pixels, expected square images for "
                         "dihedral classes")  # fmt: skip
    mirrored, upended, transposed = (((ways & bit) > 0)[:, None, None, None] for bit in (1, 2, 4))
    images = torch.where(mirrored, images.flip(3), images)
    images = torch.where(upended, images.flip(2), images)
    return torch.where(transposed, images.transpose(2, 3), images)


def composed_classes(images: Tensor, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Replace `share` of the batch's classes by new ones, each drawn together from two classes of the batch.

    The parts stand side by side, one above the other, or over each other, alike in all images of a new class; the
    darker ink wins. New labels are negative, so they meet no other label of the batch: for pair-wise labels only.
    """
    classes, index = labels.unique(return_inverse=True)
    num_classes, device = len(classes), labels.device
    if num_classes < 2:
        return images, labels
    chosen = torch.rand(num_classes, device=device) < share
    other = (
        torch.arange(num_classes, device=device) + torch.randint(1, num_classes, (num_classes,), device=device)
    ) % (num_classes)
    rows = chosen[index].nonzero()[:, 0]
    if len(rows) == 0:
        return images, labels
    candidates = other[index[rows]][:, None] == index[None, :]
    partners = torch.multinomial(candidates.float(), 1)[:, 0]
    first, second = (maps[index[rows]] for maps in _placements(num_classes, device))
    composed = torch.minimum(_place(images[rows], first), _place(images[partners], second))
    images, labels = images.clone(), labels.clone()
    images[rows] = composed.to(images.dtype)
    labels[rows] = -1 - labels[rows]
    return images, labels


def class_warps(labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """A strong warp for each class of the batch, the same for all its images; none for `1 - share` of the classes.

    labels: (batch,). Gives for each image an affine map (batch, 2, 3) from output to input coordinates (turned by up
    to 30 degrees, stretched by up to e^.3, sheared by up to .3) and a displacement (batch, 2, 4, 4) on a coarse grid.
    The bent class keeps its label, so its images must meet no others of that label: for pair-wise labels only.
    """
    classes, index = labels.unique(return_inverse=True)
    n, device = len(classes), labels.device

    def uniform(limit: float) -> Tensor:
        return limit * (2 * torch.rand(n, device=device) - 1)

    angle, stretch, shear = uniform(math.radians(30)), uniform(0.3).exp(), uniform(0.3)
    rotate = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
    skew = torch.stack([stretch, shear, torch.zeros_like(shear), 1 / stretch], 1).view(n, 2, 2)
    maps = torch.cat([rotate @ skew, torch.zeros(n, 2, 1, device=device)], 2)
    bends = 0.25 * torch.rand(n, 1, 1, 1, device=device).sqrt() * torch.randn(n, 2, 4, 4, device=device)
    chosen = (torch.rand(n, device=device) < share)[:, None, None]
    maps = torch.where(chosen, maps, torch.eye(2, 3, device=device))
    bends = torch.where(chosen[..., None], bends, 0.0)
    return maps[index], bends[index]


def _place(images: Tensor, maps: Tensor) -> Tensor:
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images - 1, grid, align_corners=False) + 1  # white beyond the border


def _placements(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two (n, 2, 3) maps from canvas to part: where each of the two parts stands on the canvas."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, device=device)

    arrangement = torch.randint(3, (n,), device=device)  # side by side, one above the other, over each other
    share, overlap = uniform(0.42, 0.58), uniform(0.85, 1.1)

    def place(size: Tensor, centre: Tensor) -> Tensor:
        free_size, free_centre = uniform(0.7, 1.0), uniform(-0.2, 0.2)
        full = overlap * 0.95
        width = torch.where(arrangement == 0, size * overlap, torch.where(arrangement == 1, full, free_size))
        height = torch.where(arrangement == 1, size * overlap, torch.where(arrangement == 0, full, free_size))
        x = torch.where(arrangement == 0, centre, free_centre)
        y = torch.where(arrangement == 1, centre, free_centre)
        zero = torch.zeros_like(x)
        return torch.stack([1 / width, zero, -x / width, zero, 1 / height, -y / height], 1).view(n, 2, 3)

    return place(share, share - 1), place(1 - share, share)
