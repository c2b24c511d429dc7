"""Embedding many images: batches in, one matrix out."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from circlet.models.mode import evaluating
from circlet.models.views import views


@torch.no_grad()  # not inference_mode: what it makes could not be trained on or changed in place
def embed(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip: bool = False,
    crop: tuple[int, int] | None = None,
) -> Tensor:
    """fp32 embeddings (N, dim), on the CPU, of the images in `batches` (each (batch, C, H, W)).

    flip, crop: embed the mirrored image, and five crops of this (height, width), as well, and add the embeddings up
    (`circlet.models.views`). For crops the batches must be larger than what the model was trained on.
    normalize: give embeddings unit length, after the addition; a zero embedding stays zero. False keeps the norm,
    as the templates of IJB-C want it.

    The model is put into evaluation mode for the time being; each part of it then has its own mode back.

    >>> embed(nn.Flatten(), [torch.ones(2, 1, 2, 2), torch.zeros(1, 1, 2, 2)])
    tensor([[0.5000, 0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000, 0.5000],
            [0.0000, 0.0000, 0.0000, 0.0000]])
    >>> embed(nn.Flatten(), [torch.tensor([[[[3.0, 1.0]]]])], flip=True, normalize=False)
    tensor([[4., 4.]])
    """
    rows = []
    with evaluating(model):
        for images in batches:
            each = [model(view).float() for view in views(images.to(device), flip=flip, crop=crop)]
            total = torch.stack(each).sum(0)
            rows.append((nn.functional.normalize(total, dim=1) if normalize else total).cpu())
    if not rows:
        raise ValueError("batches: found none, expected at least one batch of images")
    return torch.cat(rows)
