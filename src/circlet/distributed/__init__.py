"""Several ranks: the torch.distributed calls that everything else is built on.

| file        | what it is                                                                            |
|-------------|---------------------------------------------------------------------------------------|
| collectives | number of ranks; all-gather of rows, with their gradient; agreement on shapes         |
| agreement   | work on all ranks or on rank 0 alone, with one error for all; what all have alike     |
| processes   | joining and leaving what torchrun has started; output and errors once                 |

Without a process group there is one rank, and every function does the plain thing.
"""

from circlet.distributed.agreement import (
    any_rank,
    is_rank_0,
    on_all_ranks,
    on_rank_0,
    require_agreement,
    timed_group,
)
from circlet.distributed.collectives import Group, naming_collective, num_ranks, own_or_world, rank_in
from circlet.distributed.processes import local_rank, naming_step, process_group, raise_once, silence_other_ranks

__all__ = [
    "Group",
    "any_rank",
    "is_rank_0",
    "local_rank",
    "naming_collective",
    "naming_step",
    "num_ranks",
    "on_all_ranks",
    "on_rank_0",
    "own_or_world",
    "process_group",
    "raise_once",
    "rank_in",
    "require_agreement",
    "silence_other_ranks",
    "timed_group",
]
