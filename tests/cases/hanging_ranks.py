"""What one rank does in the tests of ranks that hang (a module of its own, for spawned processes)."""

import os
import time

import pytest
import torch

from circlet.distributed import on_all_ranks, on_rank_0, process_group
from circlet.distributed.agreement import WAIT

SECONDS = 1.8


def hang():
    time.sleep(4 * SECONDS)


def work_together(rank, hangs):
    with process_group(torch.device("cpu"), timeout=60):
        on_all_ranks(dict)
        if hangs == 0:
            on_rank_0(hang)
        else:
            on_all_ranks(hang if rank == hangs else dict)


def waits(rank, port, hangs):
    """Rank 1 hangs in the work of all ranks, or rank 0 in its own; the other one gets the error, and does so in time.

    Leaves without Python's clean-up, in which gloo's threads now and then abort.
    """
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    os.environ[WAIT] = str(SECONDS / 60)
    work = "hang on rank 0" if hangs == 0 else "dict"
    found = f"ranks: rank {rank} waited 0.03 minutes in the agreement of the ranks after {work} for another rank, which"
    error, message = TimeoutError, f"{found} hangs .*; CIRCLET_WAIT_MINUTES=0.06 would"
    if rank == hangs:  # and then finds nobody there
        error, message = (ConnectionError, RuntimeError, SystemExit), ""
    began = time.monotonic()
    with pytest.raises(error, match=message):
        work_together(rank, hangs)
    assert rank == hangs or SECONDS <= time.monotonic() - began < 3.5 * SECONDS
    os._exit(0)
