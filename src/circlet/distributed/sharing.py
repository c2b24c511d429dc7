"""Work shared out over the ranks: whose part is which, and rows brought together while they come.

A part is contiguous and of whole steps, such as the batches of one process, so that each rank computes what one process
would have computed, with the same numbers of threads bit for bit.
"""

import itertools
import pickle
from collections.abc import Generator, Iterator
from time import monotonic

import torch
import torch.distributed as dist
from torch import Tensor

from circlet.distributed.agreement import patient_group, waiting

SECONDS_A_ROUND = 1.0  # how long a rank works between two exchanges: an error on one is known to all by then
BYTES_A_ROUND = 1 << 26
_MORE, _ENDED, _FAILED = range(3)


def shares(count: int, step: int, ranks: int) -> list[slice]:
    """The part of each rank of `count` things, in whole steps; empty parts where there are fewer steps than ranks.

    >>> shares(10, 4, 2), shares(3, 4, 2)
    ([slice(0, 8, None), slice(8, 10, None)], [slice(0, 3, None), slice(3, 3, None)])
    """
    steps = -(-count // step)
    ends = [min(count, step * -(-steps * rank // ranks)) for rank in range(ranks + 1)]
    return [slice(first, end) for first, end in itertools.pairwise(ends)]


def in_rounds(blocks: Iterator[Tensor]) -> Generator[list[Tensor], None, None]:
    """Blocks of rows (n, dim) of all ranks, float32 on the CPU: on rank 0, what each rank has made since the last time.

    Every rank calls this and goes through it to the end; the other ranks get nothing. An error on any rank ends it on
    all: rank 0 raises that of the lowest rank, the others just stop. Rank 0 may stop before the end, on an error of its
    own, which ends it on all too.
    """
    rank, group = dist.get_rank(), patient_group()
    while True:
        own, state, error = _worked(blocks)
        with waiting("exchange of rows"):
            table = _table([state, *own.shape], group)
            failed = [number for number, row in enumerate(table) if row[0] == _FAILED]
            if failed:
                found = error if failed[0] == rank else None
                if failed[0] > 0:
                    found = _error_told(found, failed[0], group)
                if rank == 0 and found is not None:
                    raise found
                return
            parts = _brought(own, table, group)
        if rank == 0:
            try:
                yield parts
            except GeneratorExit:  # whoever takes the rows has failed
                if any(row[0] == _MORE for row in table):
                    _table([_FAILED, 0, 0], group)
                raise
        if all(row[0] == _ENDED for row in table):
            return


def _worked(blocks: Iterator[Tensor]) -> tuple[Tensor, int, Exception | None]:
    """What this rank has made in about a second, and whether that was all; nothing of what has failed."""
    found: list[Tensor] = []
    until, room = monotonic() + SECONDS_A_ROUND, BYTES_A_ROUND
    try:
        for block in blocks:
            found.append(block)
            room -= block.nbytes
            if monotonic() > until or room < 0:
                return torch.cat(found).float().contiguous(), _MORE, None
    except Exception as error:
        return torch.empty(0, 0), _FAILED, error
    return (torch.cat(found).float().contiguous() if found else torch.empty(0, 0)), _ENDED, None


def _table(own: list[int], group: dist.ProcessGroup) -> list[list[int]]:
    rows = [torch.zeros(len(own), dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, torch.tensor(own), group=group)
    return [row.tolist() for row in rows]


def _brought(own: Tensor, table: list[list[int]], group: dist.ProcessGroup) -> list[Tensor]:
    """The rows of each rank, on rank 0."""
    if dist.get_rank() > 0:
        if len(own):
            dist.send(own, 0, group=group)
        return []
    parts = [own]
    for number, (_, *shape) in enumerate(table[1:], start=1):
        parts.append(torch.empty(shape))
        if shape[0]:
            dist.recv(parts[-1], number, group=group)
    return parts


def _error_told(error: Exception | None, source: int, group: dist.ProcessGroup) -> Exception | None:
    """The error of rank `source`, on rank 0."""
    if dist.get_rank() == source:
        assert error is not None
        dist.send_object_list([sendable(error)], 0, group=group)
        return None
    if dist.get_rank() == 0:
        found: list[Exception] = [RuntimeError()]
        dist.recv_object_list(found, source, group=group)
        return found[0]
    return None


def sendable(error: Exception) -> Exception:
    """The error, or one of the nearest kind with its message that can be sent to another process."""
    for kind in type(error).__mro__:
        try:
            found = error if kind is type(error) else kind(str(error))
            if str(pickle.loads(pickle.dumps(found))) == str(error):
                return found
        except Exception:
            continue
    return RuntimeError(str(error))
