"""One process for each rank, as torchrun starts them: joining and leaving the process group, output and errors once.

torchrun names the ranks in the environment; `process_group` joins them, with NCCL on GPUs and gloo on CPUs. Without
torchrun there is one rank, and every function here does the plain thing. How a loss is computed over the ranks is
in `circlet.references.ranks`.
"""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TypeVar

import torch
import torch.distributed as dist

from circlet.distributed.agreement import forget_groups, is_rank_0, on_all_ranks, wait_minutes
from circlet.distributed.collectives import num_ranks, rank_in
from circlet.distributed.joining import join

T = TypeVar("T")


def local_rank() -> int | None:
    """Rank among the processes of this machine, as torchrun has set it; None without torchrun."""
    launched = {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys()
    return int(os.environ["LOCAL_RANK"]) if launched else None


def own_device(device: torch.device | str) -> torch.device:
    """The device of this rank for work that is done on `device` by another: under torchrun each has its own GPU."""
    device, rank = torch.device(device), local_rank()
    return torch.device("cuda", rank) if device.type == "cuda" and rank is not None else device


@contextmanager
def silence_other_ranks() -> Iterator[None]:
    """Drop what ranks other than 0 print inside the context; an error that leaves it is printed on every rank."""
    if local_rank() is None or int(os.environ["RANK"]) == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def raise_once(work: Callable[[], T]) -> T:
    """Do `work` that fails on all ranks or on none, such as parsing arguments; only rank 0 raises its ValueError.

    The other ranks exit with status 1. It needs no process group.
    """
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
    watchdog ends the process and names it in the log. Divergence (FloatingPointError) and a request to stop
    (KeyboardInterrupt), which all ranks meet, are raised by rank 0 alone. For work of other ranks one waits longer
    (`circlet.distributed.agreement`). A ConnectionError too where the ranks do not find each other in that time.
    """
    if local_rank() is None:
        yield
        return
    wait_minutes()  # an error now rather than when somebody waits
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    join(device, timeout)
    try:
        yield
        _leave_together()
    except BaseException as error:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends all ranks with the first; say why before
        if isinstance(error, FloatingPointError | KeyboardInterrupt) and not is_rank_0():
            raise SystemExit(1) from None
        if isinstance(error, RuntimeError) and _lost_a_rank(error):
            where = [note for note in getattr(error, "__notes__", []) if note.startswith("circlet: in ")]
            place = where[0].removeprefix("circlet: ") if where else "in a collective"
            reason = str(error).splitlines()[0]
            raise ConnectionError(f"rank {rank_in(None)} lost another rank {place} ({reason})") from error
        raise
    finally:
        forget_groups()
        gc.collect()  # what holds on to the group, such as a model's wrapper, goes before it
        dist.destroy_process_group()


def _leave_together() -> None:
    """Wait for rank 0, which tests and reports when the others are done; where that fails it says why."""
    try:
        on_all_ranks(lambda: None)
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
                           "DistributedDataParallel, or an all-gather of weights or reduce-scatter of gradients of "
                           "FSDP; a rank may have died or failed earlier")  # fmt: skip
        raise


def _lost_a_rank(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "Gloo" in str(error)
