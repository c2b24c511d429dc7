"""Several processes, one for each rank: started by torchrun, they do some things once and fail together.

torchrun names ranks in the environment; `process_group` joins them, with NCCL on GPUs and gloo on CPUs. Without
torchrun there is one rank, and every function here does the plain thing. Which loss is computed over ranks is
another matter (see `circlet.references.ranks`).
"""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from circlet.references.collectives import naming, num_ranks, rank_in

T = TypeVar("T")


def local_rank() -> int | None:
    """Rank among the processes of this machine, as torchrun has set it; None without torchrun."""
    launched = {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys()
    return int(os.environ["LOCAL_RANK"]) if launched else None


def is_first() -> bool:
    """Whether this is rank 0, which speaks and writes for all; True without a process group."""
    return rank_in(None) == 0


@contextmanager
def first_speaks() -> Iterator[None]:
    """Drop what the other ranks print for a while; their uncaught errors leave with the context and are not dropped."""
    if local_rank() is None or int(os.environ["RANK"]) == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def alike(work: Callable[[], T]) -> T:
    """Do `work` before there is a process group; an error, which all ranks meet, is raised by the first alone."""
    try:
        return work()
    except ValueError:
        if local_rank() is not None and int(os.environ["RANK"]) > 0:
            raise SystemExit(1) from None
        raise


@contextmanager
def process_group(device: torch.device, timeout: float) -> Iterator[None]:
    """Join the ranks that torchrun has started, until the context ends; without torchrun do nothing.

    timeout: seconds after which a collective gives up on a rank that does not answer. gloo notices one that has died
    at once, and torchrun ends the others. With gloo the error is a ConnectionError that names the collective; NCCL's
    watchdog ends the process and names it in the log. An error that all ranks meet alike is raised by rank 0 alone.
    """
    if local_rank() is None:
        yield
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", timeout=timedelta(seconds=timeout), device_id=device if on_gpu else None
    )
    try:
        yield
        _leave_together()
    except BaseException as error:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends all ranks with the first; say why before
        if isinstance(error, FloatingPointError | KeyboardInterrupt) and not is_first():
            raise SystemExit(1) from None
        if isinstance(error, RuntimeError) and _lost_a_rank(error):
            where = [note for note in getattr(error, "__notes__", []) if note.startswith("circlet: in ")]
            place = where[0].removeprefix("circlet: ") if where else "in a collective"
            reason = str(error).splitlines()[0]
            raise ConnectionError(f"rank {rank_in(None)} lost another rank {place} ({reason})") from error
        raise
    finally:
        _patient.cache_clear()
        _prompt.cache_clear()
        gc.collect()  # what holds on to the group, such as a model's wrapper, goes before it
        dist.destroy_process_group()


def _leave_together() -> None:
    """Wait for rank 0, which tests and reports when the others are done; where that fails it says why."""
    try:
        together(lambda: None)
    except RuntimeError:
        raise SystemExit(1) from None


@contextmanager
def naming_step(step: int) -> Iterator[None]:
    """Add to an error of communication that has no place yet that of the model's own collectives."""
    try:
        yield
    except RuntimeError as error:
        if num_ranks(None) > 1 and _lost_a_rank(error) and not hasattr(error, "__notes__"):
            error.add_note(f"circlet: in step {step}: the broadcast of buffers or the all-reduce of gradients of "
                           "DistributedDataParallel; a rank may have died or failed earlier")  # fmt: skip
        raise


def together(work: Callable[[], T]) -> T:
    """Do `work` on every rank and wait for all, however long they take.

    Where it fails, the first rank on which it did raises the error and the others end quietly, so that there is one
    message.
    """
    if num_ranks(None) == 1:
        return work()
    result, error = None, None
    try:
        result = work()
    except Exception as found:
        error = found
    failed: list[Any] = [None] * num_ranks(None)
    with naming("agreement of the ranks"):
        dist.all_gather_object(failed, error is not None, group=patient())
    if any(failed):
        if error is not None and rank_in(None) == failed.index(True):
            raise error
        raise SystemExit(1)
    return result  # type: ignore[return-value]


def on_first(work: Callable[[], T]) -> T:
    """Do `work` on rank 0 while the others wait, however long; all get its (small) result, or end with its error."""
    found = [together(lambda: work() if is_first() else None)]
    if num_ranks(None) > 1:
        with naming("broadcast of what rank 0 has found"):
            dist.broadcast_object_list(found, src=0, group=patient())
    return found[0]  # type: ignore[return-value]


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; about a millisecond, and no wait for a GPU."""
    if num_ranks(None) == 1:
        return flag
    flags = torch.tensor([int(flag)])
    with naming("agreement on whether to stop"):
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=_prompt(_world()))
    return bool(flags)


def patient() -> dist.ProcessGroup:
    """All ranks, on CPUs, for what may take long: there a rank that has died is noticed, and no clock runs."""
    return _patient(_world())


@cache
def _patient(world: dist.ProcessGroup) -> dist.ProcessGroup:
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timedelta(days=7))
    return group


@cache
def _prompt(world: dist.ProcessGroup) -> dist.ProcessGroup:
    group: dist.ProcessGroup = world if dist.get_backend(world) == "gloo" else dist.new_group(backend="gloo")
    return group


def _world() -> dist.ProcessGroup:
    world: dist.ProcessGroup | None = dist.group.WORLD
    assert world is not None
    return world


def _lost_a_rank(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "Gloo" in str(error)
