"""A network spread over the ranks (PyTorch's FSDP2, `fully_shard`), for one whose training fits no single device.

Each rank holds a share of every weight, of its gradient and of what the optimiser keeps of it. The weights of a block
are together on a rank only while it computes, forward and backward; what is in no block is a unit of its own. Loss,
gradients and what is trained are those of DistributedDataParallel. What a rank still needs is memory for its own
activations (`circlet.training.recompute` saves these) and, in validations and after the training, for all the weights
once, without gradients and optimiser; at the start, where the model is, for them twice.

On a CPU the C library keeps what blocks free, unless MALLOC_MMAP_THRESHOLD_=262144 is in the environment: without it
a rank may need more memory than with DistributedDataParallel.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from circlet.distributed import naming_collective, num_ranks
from circlet.training.blocks import module_blocks


class Sharded:
    """A model and its copy that is spread over the ranks, to be trained in its place; making one is collective.

    network: the copy, on the device; called, forward and backward, on all ranks together and equally often. Its
    parameters are DTensors. model: the caller's. From `empty` on its parameters are, so as to take no memory, but for
    `whole`, until `fill` or `lose`.

    Raises ValueError for a model that cannot be spread: a parameter without dimensions, or of several dtypes.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device = model, device
        network = copy.deepcopy(model)
        check(network)
        for parameter in network.parameters():
            parameter.data = parameter.data.contiguous()  # FSDP takes no other
        self.blocks = module_blocks(network)
        self.network = _fully_sharded(network, list(self.blocks.values()), device)
        self.shapes = {name: parameter.shape for name, parameter in model.named_parameters()}

    def told(self) -> str:
        """What was done, in one line."""
        numbers = sum(shape.numel() for shape in self.shapes.values())
        largest = max((_count(block) for block in self.blocks.values()), default=numbers)
        return (f"loop.fsdp: {numbers:,} weights spread over {num_ranks(None)} ranks, as {len(self.blocks)} blocks of "
                f"at most {largest:,}, and the rest of {type(self.model).__name__}")  # fmt: skip

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The model as an ordinary module with all weights as they are now, on every rank; collective.

        Batch norms have the running statistics of rank 0.
        """
        self.fill()
        try:
            yield self.model
        finally:
            self.empty()

    @torch.no_grad()
    def fill(self) -> None:
        """Put all weights, as they are now, into the model for good; collective."""
        spread = dict(self.network.named_parameters())
        for name, parameter in self.model.named_parameters():
            with naming_collective("all-gather of the network's weights"):
                full: Tensor = spread[name].full_tensor()  # type: ignore[attr-defined]
            channels_last = torch.channels_last if full.ndim == 4 else torch.contiguous_format
            parameter.data = full.clone(memory_format=channels_last)
        share_buffers(self.network)
        self.model.to(self.device)
        own = dict(self.network.named_buffers())
        for name, buffer in self.model.named_buffers():
            buffer.copy_(own[name])

    def lose(self) -> None:
        """Give the model weights of the right shapes that are NaN: what the training has come to is not in it."""
        for name, parameter in self.model.named_parameters():
            parameter.data = parameter.data.new_full(self.shapes[name], torch.nan)

    def empty(self) -> None:
        """Take all weights out of the model."""
        for parameter in self.model.parameters():
            parameter.data = parameter.data.new_empty(0)


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """All ranks take the buffers of rank 0, such as the running statistics of its batch norms; collective."""
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for buffer in model.buffers():
        by_dtype.setdefault(buffer.dtype, []).append(buffer)
    for dtype, buffers in by_dtype.items():
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        with naming_collective("broadcast of the network's buffers"):
            dist.broadcast(flat.view(torch.uint8) if dtype == torch.bool else flat, src=0)
        for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))


def check(network: nn.Module) -> None:
    """ValueError for a network that cannot be spread over ranks."""
    single = [name for name, parameter in network.named_parameters() if not parameter.ndim]
    if single:
        raise ValueError(f"loop.fsdp: found a parameter without dimensions, {single[0]}, expected all to have some, "
                         "such as (1,), or fsdp False")  # fmt: skip
    dtypes = sorted({str(parameter.dtype) for parameter in network.parameters()})
    if len(dtypes) > 1:
        raise ValueError(f"loop.fsdp: found parameters of {' and '.join(dtypes)}, expected one dtype, or fsdp False")


def _fully_sharded(network: nn.Module, blocks: list[nn.Module], device: torch.device) -> nn.Module:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule, fully_shard  # Takes seconds to import.

    mesh = DeviceMesh.from_group(_world(), device.type)
    with naming_collective("set-up of FSDP"):
        for module in [*blocks, network]:
            fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for part in network.modules():
        if isinstance(part, FSDPModule):
            part.set_force_sum_reduction_for_comms(True)  # gloo has no mean
    return network


def _world() -> Any:
    return dist.group.WORLD


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
