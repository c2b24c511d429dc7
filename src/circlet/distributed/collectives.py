"""Collectives: the rows of all ranks, and a way for all ranks to fail together instead of waiting for each other.

Through torch.distributed only, any backend. Without a process group there is one rank, and nothing is sent. When a
rank dies or never arrives, the others get the process group's error (NCCL: after its timeout) with a note that says
which collective of the loss it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup | None

# The names before torch 2.13, where they are deprecated.
_all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


_ALONE = ContextVar("circlet_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Within it this rank is the only one: for work that one rank does while the others wait, in no collective."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


@contextmanager
def together() -> Iterator[None]:
    """Within it all ranks are at the same work, though rank 0 has begun it as the only one."""
    token = _ALONE.set(False)
    try:
        yield
    finally:
        _ALONE.reset(token)


def num_ranks(group: Group) -> int:
    """World size; 1 without an initialised process group, and for what rank 0 does while the others wait."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() and not _ALONE.get() else 1


def own_or_world(group: Group) -> Group:
    """The group of all ranks for None, which stands for it."""
    return dist.group.WORLD if group is None and num_ranks(None) > 1 else group


def rank_in(group: Group) -> int:
    """Own rank; 0 without an initialised process group."""
    return dist.get_rank(group) if num_ranks(group) > 1 else 0


def agree(rows: Tensor, group: Group, error: ValueError | None = None) -> list[int]:
    """How many rows each rank brings, once all ranks agree on everything else.

    ValueError on *all* ranks if columns, dtype or requires_grad differ, or if a rank has an error of its own.
    """
    if num_ranks(group) == 1:
        if error is not None:
            raise error
        return [len(rows)]
    if error is None and rows.dtype not in _DTYPES:
        error = ValueError(f"embeddings: found {rows.dtype}, expected one of {_DTYPES} over several ranks")
    differentiable = error is None and rows.requires_grad and torch.is_grad_enabled()
    mine = [1, 0, 0, 0, 0] if error else [0, len(rows), rows.shape[1], _DTYPES.index(rows.dtype), int(differentiable)]
    device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"
    table = all_gather(torch.tensor(mine, device=device), group, "the shapes").view(-1, len(mine)).tolist()
    failed, sizes, columns, dtypes, differentiables = map(list, zip(*table, strict=True))
    if error is not None:
        raise error
    if any(failed):
        bad = [rank for rank, flag in enumerate(failed) if flag]
        raise ValueError(f"embeddings, labels: found bad ones on ranks {bad} (their messages say why), expected good "
                         "ones on all ranks")  # fmt: skip
    for what, values in (
        ("columns", columns),
        ("dtypes", [_DTYPES[i] for i in dtypes]),
        ("requires_grad", [bool(flag) for flag in differentiables]),
    ):
        if len(set(values)) > 1:
            raise ValueError(f"embeddings: found {what} {values} on ranks 0 to {len(values) - 1}, expected the same on "
                             "all ranks")  # fmt: skip
    return sizes


def gather_rows(rows: Tensor, sizes: list[int], group: Group, what: str) -> list[Tensor]:
    """The rows (size, ...) of every rank. Backward: each rank gets the *sum* of what all ranks have for its rows.

    Forward one all-gather, backward one reduce-scatter, both of num_ranks * max(sizes) rows in the dtype of the rows.
    """
    if len(sizes) == 1:
        return [rows]
    longest = max(sizes)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    gathered: Tensor = _GatherRows.apply(padded, group, what)  # type: ignore[no-untyped-call]
    parts = gathered.view(len(sizes), longest, *rows.shape[1:])
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]


def all_gather(tensor: Tensor, group: Group, what: str) -> Tensor:
    """The tensors of all ranks, of one shape, one after the other along dim 0. No gradient."""
    out = tensor.new_empty(num_ranks(group) * len(tensor), *tensor.shape[1:])
    with naming_collective(f"all-gather of {what}"):
        _all_gather_single(out, tensor.detach().contiguous(), group=group)
    return out


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: Group, what: str) -> Tensor:
        ctx.group, ctx.what = group, what
        return all_gather(rows, group, what)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        out = grad.new_empty(len(grad) // num_ranks(ctx.group), *grad.shape[1:])
        with naming_collective(f"reduce-scatter of the gradient of {ctx.what}"):
            _reduce_scatter_single(out, grad.contiguous(), group=ctx.group)
        return out, None, None


@contextmanager
def naming_collective(collective: str) -> Iterator[None]:
    """Add to the error of a collective which one it was."""
    try:
        yield
    except RuntimeError as error:
        error.add_note(f"circlet: in the {collective}; a rank may have died, failed earlier, or not called the loss")
        raise
