"""Embedding many images: batches in, one matrix out."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.inference_mode()
def embed(model: nn.Module, batches: Iterable[Tensor], *, device: torch.device | str = "cpu") -> Tensor:
    """Unit-length fp32 embeddings (N, dim), on the CPU, of the images in `batches` (each (batch, C, H, W)).

    The model is put into evaluation mode for the time being. A zero embedding stays zero.

    >>> embed(nn.Flatten(), [torch.ones(2, 1, 2, 2), torch.zeros(1, 1, 2, 2)])
    tensor([[0.5000, 0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000, 0.5000],
            [0.0000, 0.0000, 0.0000, 0.0000]])
    """
    training = model.training
    model.eval()
    rows = [nn.functional.normalize(model(images.to(device)).float(), dim=1).cpu() for images in batches]
    model.train(training)
    if not rows:
        raise ValueError("batches: found none, expected at least one batch of images")
    return torch.cat(rows)
