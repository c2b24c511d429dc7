"""Sharded tensors (DTensor, by rows over the ranks) to full ones, as a checkpoint holds them, and back.

A checkpoint is one plain file of full tensors, whatever the number of ranks, so that it can be read anywhere and
go on with any other number. torch.distributed.checkpoint, which writes a file for each rank, reads its metadata with
pickle (torch 2.13, filesystem.py): an untrusted run folder could run code. The price: for the time of a save rank 0
holds all weights and their two Adam moments in its memory, 12 bytes for each number in fp32 (6 GB for a million classes
of 512 numbers, 12 GB for a network of a billion); no GPU and no other rank holds more than its shard. To load, each
rank maps the file and reads its own rows.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from circlet.distributed import naming_collective, num_ranks, rank_in, timed_group


def full_state(state: Any) -> Any:
    """`state` (nested dicts and lists) with each sharded tensor in full on the CPU of rank 0, and None on other ranks.

    Collective if there is a sharded tensor.
    """
    if isinstance(state, dict):
        return {key: full_state(value) for key, value in state.items()}
    if isinstance(state, list):
        return [full_state(value) for value in state]
    return _gathered(state) if is_sharded(state) else state


def is_sharded(value: Any) -> bool:
    """Whether this is a DTensor (asked so because its module takes seconds to import)."""
    return hasattr(value, "to_local")


def own_part(tensor: Tensor) -> Tensor:
    """What of it this rank holds, in the same memory and without gradient: its shard, or all if it is not sharded."""
    part: Tensor = tensor.detach().to_local() if is_sharded(tensor) else tensor.detach()  # type: ignore[attr-defined]
    return part


def own_shard(value: Tensor, like: Tensor) -> Tensor:
    """A copy of `value`, a full tensor, sharded over the ranks if `like` is, on the device and in the dtype of that."""
    if not is_sharded(like):
        return value.to(like, copy=True)
    own = own_part(like)
    first = _bounds(len(value))[rank_in(None)][0]
    return as_shard(value[first : first + len(own)].to(own, copy=True), like)


def as_shard(part: Tensor, like: Tensor) -> Tensor:
    """`part`, which is this rank's, as a sharded tensor with the other ranks' parts, if `like` is one."""
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        part,
        like.device_mesh,  # type: ignore[attr-defined]
        like.placements,  # type: ignore[attr-defined]
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def _gathered(spread: Any) -> Tensor | None:
    own = spread.to_local().detach().cpu().contiguous()
    bounds = _bounds(len(spread))
    with naming_collective("collection of a checkpoint"):
        if rank_in(None) > 0:
            if own.numel():
                dist.send(own, dst=0, group=timed_group())
            return None
        full = torch.empty(spread.shape, dtype=own.dtype)
        full[: len(own)] = own
        for rank, (first, last) in list(enumerate(bounds))[1:]:
            if last > first:
                dist.recv(full[first:last], src=rank, group=timed_group())
        return full


def _bounds(length: int) -> list[tuple[int, int]]:
    """First and last row + 1 of each rank, as Shard(0) places them."""
    rows = -(-length // num_ranks(None))
    return [(min(rank * rows, length), min((rank + 1) * rows, length)) for rank in range(num_ranks(None))]
