"""Agreement of the ranks: work that all do or that rank 0 does for all, with one error for all where it fails.

Work may take longer than a collective, so there is a clock of its own for the wait for it: CIRCLET_WAIT_MINUTES, 240
unless set. A rank that has died is noticed at once; the clock is for one that hangs.

Without a process group there is one rank, and every function here does the plain thing.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from circlet.distributed.collectives import alone, naming_collective, num_ranks, rank_in

T = TypeVar("T")
WAIT, WAIT_MINUTES = "CIRCLET_WAIT_MINUTES", 240.0


def is_rank_0() -> bool:
    """Whether this is rank 0, which alone prints and writes files; True without a process group."""
    return rank_in(None) == 0


def on_all_ranks(work: Callable[[], T]) -> T:
    """Do `work` on every rank and wait until all have.

    Where it fails on some, the lowest of these ranks raises its error and all others exit with status 1, so that there
    is one message. TimeoutError on those that have waited CIRCLET_WAIT_MINUTES for another.
    """
    if num_ranks(None) == 1:
        return work()
    result, error = None, None
    try:
        result = work()
    except Exception as found:
        error = found
    failed = _of_all_ranks(error is not None, f"agreement of the ranks after {_name(work)}")
    if any(failed):
        if error is not None and rank_in(None) == failed.index(True):
            raise error
        raise SystemExit(1)
    return result  # type: ignore[return-value]


def on_rank_0(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 while the others wait; its result, pickled, is returned on every rank.

    Where it fails, rank 0 raises the error and the others exit with status 1. TimeoutError as in `on_all_ranks`.
    """

    def alone_there() -> T | None:
        return _alone(work) if is_rank_0() else None

    alone_there.__name__ = f"{_name(work)} on rank 0"
    found = [on_all_ranks(alone_there)]
    if num_ranks(None) > 1:
        with waiting("broadcast of what rank 0 has found"):
            dist.broadcast_object_list(found, src=0, group=patient_group())
    return found[0]  # type: ignore[return-value]


def _alone(work: Callable[[], T]) -> T:
    with alone():  # the others wait, so that what it does must not wait for them
        return work()


def require_agreement(parts: Callable[[], Mapping[str, Any]]) -> None:
    """ValueError where ranks differ in `parts`, which all must have alike before they work together.

    parts: JSON values by name, perhaps nested; not asked for where there is one rank. Each rank sends a digest of them,
    and the parts themselves only where digests differ. The error names the parts that differ, with the values of rank 0
    and of the first rank that has another; rank 0 raises it and all others exit with status 1.
    """
    if num_ranks(None) == 1:
        return
    own = _flat(parts())
    digest = hashlib.blake2b(json.dumps(own, sort_keys=True).encode(), digest_size=16).hexdigest()
    if len(set(_of_all_ranks(digest, "comparison of settings and data of the ranks"))) == 1:
        return
    everyone = _of_all_ranks(own, "exchange of settings that differ")
    if not is_rank_0():
        raise SystemExit(1)
    told = [text for name in dict.fromkeys(name for found in everyone for name in found)
            if (text := _difference(name, [found.get(name, "none") for found in everyone]))]  # fmt: skip
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    raise ValueError(f"ranks: found {'; '.join(told[:_SHOWN])}{more}; expected the same on all {len(everyone)} ranks")


_SHOWN = 6


def _difference(name: str, values: Sequence[str]) -> str | None:
    """What rank 0 has, and the first other one that a rank has; None where there is none."""
    rank = next((rank for rank, value in enumerate(values) if value != values[0]), None)
    return None if rank is None else f"{name} {values[0]} on rank 0 and {values[rank]} on rank {rank}"


def _flat(parts: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested values by their path.

    >>> _flat({"loop": {"steps": 5, "seconds": None}})
    {'loop.steps': '5', 'loop.seconds': 'null'}
    """
    found: dict[str, str] = {}
    for name, value in parts.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{name}.")
        else:
            found[above + name] = json.dumps(value, default=str)
    return found


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; about a millisecond, and no wait for a GPU."""
    if num_ranks(None) == 1:
        return flag
    flags = torch.tensor([int(flag)])
    with naming_collective("agreement on whether to stop"):
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=timed_group())
    return bool(flags)


def timed_group() -> dist.ProcessGroup:
    """Group of all ranks over gloo, for what takes no longer than any collective: tensors on the CPU."""
    return _timed(_world())


def patient_group() -> dist.ProcessGroup:
    """Group of all ranks over gloo, for what waits for the work of other ranks: tensors on the CPU."""
    return _patient_group(_world())


def forget_groups() -> None:
    """Drop the groups made here, before the process group that they belong to is destroyed."""
    _patient_group.cache_clear()
    _timed.cache_clear()


def _of_all_ranks(value: Any, what: str) -> list[Any]:
    """The values, pickled, of all ranks, once the last has come to this."""
    found: list[Any] = [None] * num_ranks(None)
    with waiting(what):
        dist.all_gather_object(found, value, group=patient_group())
    return found


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A collective that waits for the work of other ranks: a TimeoutError that says so where they take too long."""
    began, limit = time.monotonic(), wait_minutes()
    try:
        with naming_collective(what):
            yield
    except RuntimeError as error:
        if time.monotonic() - began < 60 * limit:
            raise
        raise TimeoutError(f"ranks: rank {rank_in(None)} waited {limit:g} minutes in the {what} for another rank, "
                           f"which hangs or takes longer, expected it in time; {WAIT}={2 * limit:g} would wait "
                           "longer") from error  # fmt: skip


def wait_minutes() -> float:
    """How long a rank waits for work of another; a ValueError that names the variable where it is no such number."""
    text = os.environ.get(WAIT, str(WAIT_MINUTES))
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise ValueError(f"{WAIT}: found {text!r}, expected minutes, a number above 0")
    return minutes


def _name(work: Callable[[], Any]) -> str:
    """What work is called, for messages; of a lambda what it calls.

    >>> _name(lambda: print(3)), _name(is_rank_0)
    ('print', 'is_rank_0')
    """
    work = getattr(work, "func", work)  # of a partial
    name: str = getattr(work, "__name__", type(work).__name__)
    names: tuple[str, ...] = getattr(getattr(work, "__code__", None), "co_names", ())
    return names[0] if name == "<lambda>" and names else name


@cache
def _patient_group(world: dist.ProcessGroup) -> dist.ProcessGroup:
    timeout = timedelta(minutes=wait_minutes())
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timeout)
    return group


@cache
def _timed(world: dist.ProcessGroup) -> dist.ProcessGroup:
    group: dist.ProcessGroup = world if dist.get_backend(world) == "gloo" else dist.new_group(backend="gloo")
    return group


def _world() -> dist.ProcessGroup:
    world: dist.ProcessGroup | None = dist.group.WORLD
    assert world is not None
    return world
