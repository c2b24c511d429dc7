r"""Activation checkpointing: of a block only its input is kept, and the rest is computed again for its gradient.

One forward pass more (a third of a step's products), and in place of the activations of n equal blocks their inputs and
the activations of one. Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016. The second pass has
the random numbers, the autocast and the buffers of the first, and leaves the buffers as they are: running statistics of
batch norms move once. So every number is that of a step without it, bit for bit.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def recomputing(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Within it, which a backward pass need not be, the activations of `blocks` are not kept.

    >>> block, x = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.GELU()), torch.randn(4, 2)
    >>> with recomputing([block]):
    ...     y = block(x)
    >>> y.sum().backward()
    >>> int(block[1].num_batches_tracked)
    1

    Blocks must not contain one another, and must compute the same whenever inputs, buffers and torch's random numbers
    are. A block called without gradients is called as ever.
    """
    changed: list[tuple[nn.Module, Any]] = []
    try:
        for block in blocks:
            changed.append((block, block.__dict__.get("forward")))
            block.forward = partial(_call, block, block.forward)
        yield
    finally:
        for block, own in changed:
            if own is None:
                del block.forward
            else:
                block.forward = own


def _call(block: nn.Module, forward: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **keywords)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=partial(_contexts, block), **keywords)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), BuffersApart(block)


class BuffersApart(AbstractContextManager[None]):
    """Within it a module has copies of its buffers, as they are now; what changes them there is forgotten.

    >>> norm = nn.BatchNorm1d(2)
    >>> with BuffersApart(norm):
    ...     _ = norm(torch.randn(4, 2))
    >>> int(norm.num_batches_tracked)
    0
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.as_they_are_now = _copied(_buffers(module))
        self.own: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        self.own = _buffers(self.module)
        self._put(_copied(self.as_they_are_now))

    def __exit__(self, *error: object) -> None:
        self._put(self.own)

    def _put(self, buffers: dict[str, Tensor]) -> None:
        for name, buffer in buffers.items():
            owner, _, own_name = name.rpartition(".")
            setattr(self.module.get_submodule(owner), own_name, buffer)


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_buffers(remove_duplicate=False))


def _copied(buffers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies; of a buffer that has several names, one."""
    copies = {id(buffer): buffer.clone() for buffer in buffers.values()}
    return {name: copies[id(buffer)] for name, buffer in buffers.items()}
