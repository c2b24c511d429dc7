"""What the verbs share: the device, and the table of results."""

import os
from collections.abc import Mapping
from typing import Annotated

import torch
import tyro

from circlet.distributed import local_rank

# For verbs that open a run folder, which may be somebody else's.
Trust = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")]


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU if there is one. ValueError if it is not there.

    Under torchrun each rank takes a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if (rank := local_rank()) is not None and name.startswith("cuda"):
        if name != "cuda":
            raise ValueError(f"device: found {name!r} under torchrun, expected auto, cpu or cuda: ranks share GPUs out")
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", rank + 1))
        if ranks > torch.cuda.device_count():
            raise ValueError(f"device: found {torch.cuda.device_count()} GPUs for {ranks} ranks here, expected one for "
                             "each (torchrun --nproc-per-node)")  # fmt: skip
        name = f"cuda:{rank}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: found {name!r}, expected auto, cpu, cuda or cuda:N ({reason})") from error
    return device


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Rows of metrics as aligned text.

    >>> print(table({"raw pixels": {"recall@1": 0.25}, "embedding": {"recall@1": 0.875}}))
                recall@1
    raw pixels     0.250
    embedding      0.875
    """
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  {name:>8}" for name in columns)]
    for name, row in rows.items():
        cells = "".join(f"  {row[column]:>{max(8, len(column))}.3f}" for column in columns)
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)
