"""What the verbs share: the device, the table of results, and the files to write."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro

from circlet.distributed import led_to, local_rank, process_group, raise_once

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


def by_all_ranks(device: str, timeout: float, work: Callable[[torch.device], object]) -> None:
    """Do the work of a verb on rank 0, with the help of the others that torchrun has started; alone without torchrun.

    To be called within `silence_other_ranks`. timeout: seconds after which a rank gives up on another.
    """
    chosen = raise_once(lambda: choose_device(device))
    with process_group(chosen, timeout):
        led_to(lambda: work(chosen))


def table(rows: Mapping[str, Mapping[str, float]], intervals: Mapping[str, tuple[float, float]] | None = None) -> str:
    """Metrics as aligned text, one a line: a column for each row of `rows`, and the intervals of the last.

    >>> rows = {"raw pixels": {"recall@1": 0.25, "mrr": 0.5}, "embedding": {"recall@1": 0.875, "mrr": 1.0}}
    >>> print(table(rows, {"recall@1": (0.81, 0.93)}))
              raw pixels  embedding
    recall@1       0.250      0.875  (0.810 to 0.930)
    mrr            0.500      1.000

    No interval is shown where its ends are the same: all classes agree, and say nothing of others.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [["", *(f"{title:>8}" for title in rows), ""]]
    for name in names:
        low, high = (intervals or {}).get(name, (0.0, 0.0))
        cells = [f"{row[name]:.3f}" if name in row else "" for row in rows.values()]
        lines.append([name, *cells, f"({low:.3f} to {high:.3f})" if low < high else ""])
    return columns(lines)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned text; the first of each row is its name, and the first row has the headings.

    >>> print(columns([("threshold", "similarity"), ("verify", "0.62")]))
    threshold  similarity
    verify           0.62
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        lines.append(
            "  ".join([f"{name:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True))])
        )
    return "\n".join(line.rstrip() for line in lines)


def outputs(out: Path, suffixes: Mapping[str, str]) -> dict[str, Path]:
    """The files to write, by what they are; an OSError at once where they cannot be written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    found = {what: out.with_name(out.name + suffix) for what, suffix in suffixes.items()}
    for path in found.values():
        if path.is_dir():
            raise IsADirectoryError(f"{path}: found a folder, expected a file or nothing (--out)")
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"{out.parent}: found no right to write there, expected it for --out {out}")
    return found
