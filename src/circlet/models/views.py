"""What a model sees of an image in testing: its centre, or five crops, each perhaps with its mirror image.

`embed` adds up the embeddings of all views of an image. Random views, for training, are in `circlet.augment`.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class View:
    """How images are seen in testing, whatever size they were decoded to.

    size: (height, width) that the model sees. crop_share: share of each side of the decoded image that is kept, about
    its centre, and scaled to `size`. flip: the mirror image too. five_crops: instead of the centre, five crops of
    `size` out of the decoded image as it is.
    """

    size: tuple[int, int]
    crop_share: float = 1.0
    flip: bool = False
    five_crops: bool = False

    def plain(self) -> "View":
        """The same without mirror image and crops."""
        return View(self.size, self.crop_share)


def views(images: Tensor, *, flip: bool = False, crop: tuple[int, int] | None = None) -> list[Tensor]:
    """All views of a batch (batch, channels, height, width), each a batch.

    >>> import torch
    >>> [view.shape[2:] for view in views(torch.zeros(1, 3, 256, 256), crop=(227, 227))]
    [torch.Size([227, 227]), ..., torch.Size([227, 227])]

    crop: (height, width) of five crops: the four corners and the centre (Krizhevsky et al. 2012); None: the images
    whole. flip: each also mirrored, which makes two views, or ten.
    """
    kept = [images] if crop is None else _five_crops(images, *crop)
    return [*kept, *(view.flip(3) for view in kept)] if flip else kept


def plain_view(
    images: Tensor, size: tuple[int, int], crop_share: float = 1.0, *, place: tuple[int, int] = (0, 0)
) -> Tensor:
    """The central `crop_share` of each side of the images, scaled to `size`; float 0 to 1.

    >>> plain_view(torch.full((2, 1, 8, 8), 255, dtype=torch.uint8), (4, 4)).unique()
    tensor([1.])

    images: (batch, channels, height, width), uint8 or float 0 to 1. place: -1, 0 or 1 down and across: that part at the
    top or left, in the middle, or at the bottom or right. Where nothing is left to scale, as for the central
    227 of 256 pixels, the pixels are cut out as they are.
    """
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    height, width = images.shape[2:]
    if (round(crop_share * height), round(crop_share * width)) == size:
        top, left = (
            (space if at > 0 else space // 2 if at == 0 else 0)
            for at, space in zip(place, (height - size[0], width - size[1]), strict=True)
        )
        return images[:, :, top : top + size[0], left : left + size[1]]
    step = crop_share * math.sqrt(height * width / (size[0] * size[1]))
    if (halvings := max(0, math.ceil(math.log2(step / 1.5)))) > 0:  # or every second pixel would not be seen at all
        images = F.interpolate(images, [math.ceil(side / 2**halvings) for side in (height, width)], mode="area")
    eye = torch.eye(2, 3, dtype=images.dtype, device=images.device).expand(images.shape[0], -1, -1)
    grid = crop_share * F.affine_grid(eye, [*images.shape[:2], *size], align_corners=False)
    grid = grid + (1 - crop_share) * grid.new_tensor([place[1], place[0]])
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _five_crops(images: Tensor, height: int, width: int) -> list[Tensor]:
    bottom, right = images.shape[2] - height, images.shape[3] - width
    if min(bottom, right) < 0 or min(height, width) < 1:
        raise ValueError(f"crop: found {height} x {width}, expected at most the images' {images.shape[2]} x "
                         f"{images.shape[3]} pixels")  # fmt: skip
    starts = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    return [images[:, :, y : y + height, x : x + width] for y, x in starts]
