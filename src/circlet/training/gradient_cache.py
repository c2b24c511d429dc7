r"""Gradient cache: the gradient of a loss over a large batch, in the memory of a small one.

A loss over pairs does not split into a sum over parts of the batch, so plain gradient accumulation computes another
loss. But it depends on the model f only through the embeddings, and these are small:

    1. embed chunk by chunk without a graph:       e_c = f(x_c)
    2. the loss of the whole batch, and            g = dL/de
    3. embed each chunk again, with a graph:       dL/dtheta = sum_c (d f(x_c) / d theta)^T g_c

One forward pass more, exactly the same gradient. Source: Gao et al., Scaling Deep Contrastive Learning Batch Size
under Memory Limited Setup, 2021.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from circlet.distributed import timed_group
from circlet.distributed.collectives import all_gather
from circlet.training.recompute import BuffersApart
from circlet.training.shards import is_sharded


def gradient_cache(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    chunk_size: int,
) -> Tensor:
    """Loss of the batch, detached; `.grad` of the parameters of model and loss grows as by `loss(...).backward()`.

    >>> import circlet
    >>> model, images, labels = nn.Linear(6, 4), torch.randn(8, 6), torch.arange(4).repeat(2)
    >>> value = gradient_cache(model, circlet.CircleLoss(), images, labels, chunk_size=3)
    >>> torch.allclose(value, circlet.CircleLoss()(model(images), labels), rtol=1e-4)
    True

    model: images (chunk, ...) to embeddings (chunk, dim). loss: embeddings (batch, dim) and labels (batch,) to a
    scalar; may have parameters (class weights) and be one over several ranks. For fp16 give it the scaled loss.
    images: (batch, ...). chunk_size: images in memory with their activations at a time, >= 1.

    Dropout and the like draw the same numbers both times. A model that makes samples of a batch depend on each other
    does so within a chunk: BatchNorm takes the statistics of a chunk, and moves its running statistics once for each;
    freeze it, or use GroupNorm. Under DistributedDataParallel gradients are averaged once, after the last chunk; the
    ranks may have different numbers of chunks. Under FSDP (`fully_shard`) they are averaged after each, so that no rank
    holds all of them, and ranks have the same number of chunks: see `chunks_of`.
    """
    chunks = chunks_of(model, images, chunk_size)
    states, parts = [], []
    # The bare module: the first pass needs none of DistributedDataParallel's collectives.
    bare = model.module if isinstance(model, DistributedDataParallel) else model
    with torch.no_grad(), BuffersApart(bare):  # both passes begin with the same buffers
        for chunk in chunks:
            states.append(_random_state(images.device))
            parts.append(bare(chunk))
    torch.clear_autocast_cache()  # Of weights cast without a graph.
    embeddings = torch.cat(parts).requires_grad_()
    value = loss(embeddings, labels)
    if value.ndim:
        raise ValueError(f"loss: found shape {tuple(value.shape)}, expected a scalar (reduction 'mean' or 'sum')")
    value.backward()
    gradient = embeddings.grad
    assert gradient is not None
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        for chunk, state, part in zip(chunks, states, gradient.split([len(part) for part in parts]), strict=True):
            _restore(state, images.device)
            with nullcontext() if chunk is chunks[-1] else _unsynchronised(model):
                torch.autograd.backward(model(chunk), part)
    return value.detach()


def chunks_of(model: nn.Module, images: Tensor, chunk_size: int) -> tuple[Tensor, ...]:
    """Chunks of at most `chunk_size` images, at least 1.

    Of a model that is spread over ranks every rank takes part in every call: there all have as many chunks as the rank
    with most, and this is collective. ValueError, on all ranks, where one has fewer images than chunks.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size: found {chunk_size}, expected at least 1")
    if not any(map(is_sharded, model.parameters())):
        return tuple(images.split(chunk_size))
    sizes = all_gather(torch.tensor([len(images)]), timed_group(), "sizes of the parts of a batch").tolist()
    number = max(-(-max(sizes) // chunk_size), 1)
    if min(sizes) < number:
        raise ValueError(f"chunk: found parts of {min(sizes)} and of {max(sizes)} images of one batch on the ranks, in "
                         f"chunks of {chunk_size}, expected at least {number} on each, one for each chunk")  # fmt: skip
    return images.tensor_split(number)


def _unsynchronised(model: nn.Module) -> AbstractContextManager[None]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _restore(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    on_cpu, on_device = state
    torch.set_rng_state(on_cpu)
    if on_device is not None:
        torch.cuda.set_rng_state(on_device, device)
