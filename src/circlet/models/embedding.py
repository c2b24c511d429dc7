"""Embedding many images: batches in, one matrix out, in memory or in a file."""

from collections.abc import Iterable, Iterator
from itertools import chain
from os import PathLike

import torch
from torch import Tensor, nn

from circlet.models.mode import evaluating
from circlet.models.views import views
from circlet.similarity import unit_rows


def embed(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip: bool = False,
    crop: tuple[int, int] | None = None,
    num_images: int | None = None,
    file: str | PathLike[str] | None = None,
) -> Tensor:
    """fp32 embeddings (N, dim), on the CPU, of the images in `batches` (each (batch, C, H, W)).

    >>> embed(nn.Flatten(), [torch.ones(2, 1, 2, 2), torch.zeros(1, 1, 2, 2)])
    tensor([[0.5000, 0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000, 0.5000],
            [0.0000, 0.0000, 0.0000, 0.0000]])
    >>> embed(nn.Flatten(), [torch.tensor([[[[3.0, 1.0]]]])], flip=True, normalize=False)
    tensor([[4., 4.]])

    flip, crop: embed the mirrored image, and five crops of this (height, width), as well, and add the embeddings up
    (`circlet.models.views`). For crops the batches must be larger than what the model was trained on.
    normalize: give embeddings unit length, after the addition; a zero embedding stays zero. False keeps the norm,
    as the templates of IJB-C want it.
    num_images: how many there are in all, if that is known: embeddings are then written where they stay, which takes
    half the memory at its highest.
    file: where to write the embeddings, as bare numbers, for more of them than memory holds. The tensor then maps the
    file, which must stay as it is as long as the tensor is used.

    ValueError for no batch, or other than `num_images` images; OSError for a file that cannot be written.

    The model is put into evaluation mode for the time being; each part of it then has its own mode back.
    """
    blocks = embedded(model, batches, device=device, normalize=normalize, flip=flip, crop=crop)
    if (first := next(blocks, None)) is None:
        raise ValueError("batches: found none, expected at least one batch of images")
    dim, placed = first.shape[1], _placed(chain([first], blocks))
    if file is not None:
        return in_file(placed, dim, num_images, file)
    if num_images is None:
        return torch.cat([block for _, block in placed])
    return in_memory(placed, dim, num_images)


@torch.no_grad()  # not inference_mode: what it makes could not be trained on or changed in place
def embedded(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip: bool = False,
    crop: tuple[int, int] | None = None,
) -> Iterator[Tensor]:
    """The embeddings of each batch as it comes, fp32 on the CPU; arguments as those of `embed`."""
    with evaluating(model):
        for images in batches:
            each = [model(view).float() for view in views(images.to(device), flip=flip, crop=crop)]
            total = torch.stack(each).sum(0)
            yield (unit_rows(total) if normalize else total).cpu()


def _placed(blocks: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Blocks of rows, each with the number of its first row."""
    first = 0
    for block in blocks:
        yield first, block
        first += len(block)


def in_memory(blocks: Iterable[tuple[int, Tensor]], dim: int, num_images: int) -> Tensor:
    """The matrix (num_images, dim) of blocks of rows, each with the number of its first row, in any order."""
    matrix, found = torch.empty(num_images, dim), 0
    for first, block in blocks:
        found += len(block)
        if found <= num_images:
            matrix[first : first + len(block)] = block
    _check_number(found, num_images)
    return matrix


def in_file(
    blocks: Iterable[tuple[int, Tensor]], dim: int, num_images: int | None, file: str | PathLike[str]
) -> Tensor:
    """As `in_memory`, into a file of bare numbers, which the matrix maps."""
    found = 0
    with open(file, "wb") as out:  # and not through a map: a full disk would kill the process
        for first, block in blocks:
            out.seek(first * dim * 4)
            out.write(block.numpy().tobytes())
            found += len(block)
    _check_number(found, num_images)
    return torch.from_file(str(file), size=found * dim, dtype=torch.float32).view(found, dim)


def _check_number(found: int, num_images: int | None) -> None:
    if num_images is not None and found != num_images:
        raise ValueError(f"batches: found {found} images, expected num_images, {num_images}")
