"""Several ranks: the torch.distributed calls that everything else is built on.

| file        | what it is                                                                            |
|-------------|---------------------------------------------------------------------------------------|
| collectives | number of ranks; all-gather of rows, with their gradient; agreement on shapes         |
| agreement   | work on all ranks or on rank 0 alone, with one error for all; what all have alike     |
| helping     | rank 0 leads, the others help: rows made by all ranks, calls on all ranks             |
| sharing     | whose part of a work is which; rows brought together, and errors, while they come     |
| joining     | meeting the others; which host does not come or cannot be reached                     |
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
from circlet.distributed.helping import all_call, helpers, led, led_to, rows_of_ranks
from circlet.distributed.processes import (
    local_rank,
    naming_step,
    own_device,
    process_group,
    raise_once,
    silence_other_ranks,
)
from circlet.distributed.sharing import shares

__all__ = [
    "Group",
    "all_call",
    "any_rank",
    "helpers",
    "is_rank_0",
    "led",
    "led_to",
    "local_rank",
    "naming_collective",
    "naming_step",
    "num_ranks",
    "on_all_ranks",
    "on_rank_0",
    "own_device",
    "own_or_world",
    "process_group",
    "raise_once",
    "rank_in",
    "require_agreement",
    "rows_of_ranks",
    "shares",
    "silence_other_ranks",
    "timed_group",
]
