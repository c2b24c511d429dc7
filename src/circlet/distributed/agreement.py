"""Agreement of the ranks: work that all do or that rank 0 does for all, with one error for all where it fails.

Without a process group there is one rank, and every function here does the plain thing.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from circlet.distributed.collectives import alone, naming_collective, num_ranks, rank_in

T = TypeVar("T")


def is_rank_0() -> bool:
    """Whether this is rank 0, which alone prints and writes files; True without a process group."""
    return rank_in(None) == 0


def on_all_ranks(work: Callable[[], T]) -> T:
    """Do `work` on every rank and wait until all have, however long that takes.

    Where it fails on some, the lowest of these ranks raises its error and all others exit with status 1, so that there
    is one message.
    """
    if num_ranks(None) == 1:
        return work()
    result, error = None, None
    try:
        result = work()
    except Exception as found:
        error = found
    failed: list[Any] = [None] * num_ranks(None)
    with naming_collective("agreement of the ranks"):
        dist.all_gather_object(failed, error is not None, group=untimed_group())
    if any(failed):
        if error is not None and rank_in(None) == failed.index(True):
            raise error
        raise SystemExit(1)
    return result  # type: ignore[return-value]


def on_rank_0(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 while the others wait, however long; its result, pickled, is returned on every rank.

    Where it fails, rank 0 raises the error and the others exit with status 1.
    """
    found = [on_all_ranks(lambda: _alone(work) if is_rank_0() else None)]
    if num_ranks(None) > 1:
        with naming_collective("broadcast of what rank 0 has found"):
            dist.broadcast_object_list(found, src=0, group=untimed_group())
    return found[0]  # type: ignore[return-value]


def _alone(work: Callable[[], T]) -> T:
    with alone():  # the others wait, so that what it does must not wait for them
        return work()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; about a millisecond, and no wait for a GPU."""
    if num_ranks(None) == 1:
        return flag
    flags = torch.tensor([int(flag)])
    with naming_collective("agreement on whether to stop"):
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=_timed(_world()))
    return bool(flags)


def untimed_group() -> dist.ProcessGroup:
    """Group of all ranks over gloo with a time limit of a week, for work that may outlast the process group's timeout.

    gloo notices at once when a rank has died, so that waiting in it without a clock is safe.
    """
    return _untimed(_world())


def forget_groups() -> None:
    """Drop the groups made here, before the process group that they belong to is destroyed."""
    _untimed.cache_clear()
    _timed.cache_clear()


@cache
def _untimed(world: dist.ProcessGroup) -> dist.ProcessGroup:
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timedelta(days=7))
    return group


@cache
def _timed(world: dist.ProcessGroup) -> dist.ProcessGroup:
    group: dist.ProcessGroup = world if dist.get_backend(world) == "gloo" else dist.new_group(backend="gloo")
    return group


def _world() -> dist.ProcessGroup:
    world: dist.ProcessGroup | None = dist.group.WORLD
    assert world is not None
    return world
