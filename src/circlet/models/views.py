"""Views of an image for testing: it and its mirror image, five crops, or both; `embed` adds up their embeddings."""

from torch import Tensor


def views(images: Tensor, *, flip: bool = False, crop: tuple[int, int] | None = None) -> list[Tensor]:
    """All views of a batch (batch, channels, height, width), each a batch.

    crop: (height, width) of five crops: the four corners and the centre (Krizhevsky et al. 2012); None: the images
    whole. flip: each also mirrored, which makes two views, or ten.

    >>> import torch
    >>> [view.shape[2:] for view in views(torch.zeros(1, 3, 256, 256), crop=(227, 227))]
    [torch.Size([227, 227]), ..., torch.Size([227, 227])]
    """
    kept = [images] if crop is None else _five_crops(images, *crop)
    return [*kept, *(view.flip(3) for view in kept)] if flip else kept


def _five_crops(images: Tensor, height: int, width: int) -> list[Tensor]:
    bottom, right = images.shape[2] - height, images.shape[3] - width
    if min(bottom, right) < 0 or min(height, width) < 1:
        raise ValueError(f"crop: found {height} x {width}, expected at most the images' {images.shape[2]} x "
                         f"{images.shape[3]} pixels")  # fmt: skip
    starts = ((0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2))
    return [images[:, :, y : y + height, x : x + width] for y, x in starts]
