"""A network in numbers: weights, operations and activations, counted on two small batches.

Operations are those that torch.utils.flop_counter knows (convolutions and matrix products; one multiplication and one
addition are 2). Memory is that of the tensors that live at the same time, seen by their storages as operations make
them and Python lets them go, so what a library takes within an operation is not in it.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from circlet.models import Embedder
from circlet.models.mode import in_mode
from circlet.plan.scale import Scale
from circlet.training.blocks import module_blocks
from circlet.training.recompute import BuffersApart, recomputing


class Activations(NamedTuple):
    """Where a training step holds most: bytes of an image (a), of any number of them, and of gradients by then."""

    image: float
    fixed: float
    gradients: float


class Network(NamedTuple):
    """What a network takes.

    name: its own. weights: numbers that are trained (P). largest: of them in one tensor. block: of them in its largest
    block, or in all that is in no block. units: such blocks, and the rest. buffers: bytes of what is not trained, such
    as the statistics of batch norms. flops: of a forward pass of one image (f). kept: where all activations are kept.
    recomputed: where those within a block are computed again; None for a network without blocks. features: numbers of
    a pooled feature (F).
    """

    name: str
    weights: int
    largest: int
    block: int
    units: int
    buffers: int
    flops: float
    kept: Activations
    recomputed: Activations | None
    features: int

    def activations(self, scale: Scale) -> Activations:
        """Those of a job; ValueError where they are to be computed again and there are no blocks."""
        if not scale.grad_checkpointing:
            return self.kept
        if self.recomputed is None:
            raise ValueError(f"grad_checkpointing: found with {self.name}, which has no blocks, expected False")
        return self.recomputed


def count(model: Embedder, name: str, size: tuple[int, int], channels: int, *, half: bool) -> Network:
    """Run batches of 2 and of 4 images through `model`, on the CPU, forward and backward.

    half: in bf16 by autocast. The gradients of the model are thrown away.
    """
    from torch.utils.flop_counter import FlopCounterMode  # it imports Triton

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with FlopCounterMode(display=False) as counted, torch.no_grad(), _training(model):
        pooled: Tensor = model.features(torch.rand(2, channels, *size))
        model.head(pooled)
    blocks = list(module_blocks(model).values())
    in_blocks = [sum(parameter.numel() for parameter in block.parameters()) for block in blocks]
    numbers = sum(parameter.numel() for parameter in trained)

    def activations(again: list[nn.Module]) -> Activations:
        (two, gradients), (four, _) = (_most(model, trained, torch.rand(n, channels, *size), again, half=half)
                                       for n in (2, 4))  # fmt: skip
        slope = max(four - two, 0) / 2
        return Activations(slope, max(two - 2 * slope, 0.0), gradients)

    return Network(
        name=name,
        weights=numbers,
        largest=max((parameter.numel() for parameter in trained), default=0),
        block=max([*in_blocks, numbers - sum(in_blocks)]),
        units=len(blocks) + 1,
        buffers=sum(buffer.numel() * buffer.element_size() for buffer in model.buffers()),
        flops=counted.get_total_flops() / 2,
        kept=activations([]),
        recomputed=activations(blocks) if blocks else None,
        features=pooled[0].numel(),
    )


def _most(
    model: nn.Module, trained: list[nn.Parameter], images: Tensor, again: list[nn.Module], *, half: bool
) -> tuple[int, int]:
    """Bytes that live at most beside weights and their gradients; and those of the gradients that were there then.

    Where all gradients are there, little else is: that is the update's moment.
    """
    live = _Live()
    hooks = [parameter.register_post_accumulate_grad_hook(live.is_gradient) for parameter in trained]
    try:
        with _training(model), recomputing(again), live:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                embeddings = model(images)
            embeddings.float().square().mean().backward()
            del embeddings
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
    return live.most, live.gradients_then


class _Live(TorchDispatchMode):
    """Bytes of the storages that operations have made and that are still there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = self.gradients = self.gradients_then = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and _key(leaf) not in given | self._sizes.keys():
                self._add(leaf)
        if self.now > self.most:
            self.most, self.gradients_then = self.now, self.gradients
        return out

    def _add(self, tensor: Tensor) -> None:
        key, storage = _key(tensor), tensor.untyped_storage()
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)

    def is_gradient(self, parameter: nn.Parameter) -> None:
        """A gradient is complete: it counts as one, not as an activation."""
        assert parameter.grad is not None
        self.now -= self._sizes.pop(_key(parameter.grad), 0)
        self.gradients += parameter.grad.numel() * parameter.grad.element_size()


def _key(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """In training mode, with statistics that are put back."""
    with in_mode(model, training=True), BuffersApart(model):
        yield
