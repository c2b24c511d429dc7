"""`circlet bench`: how fast and how lean the loss is on this machine, beside its peers."""

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import tyro

from circlet.bench import Case, Results, machine, measure, plot, table
from circlet.bench.cases import Dtype
from circlet.bench.measure import Measured, Settings
from circlet.cli.common import choose_device
from circlet.files import write_atomically, write_text

DESCRIPTION = """Time and peak memory of Circle loss, forward and backward, beside its peers in the same run.

Every combination of the sizes is a case. Peers: the dense twin, the bare matrix products of the naive form,
pytorch-metric-learning if it is installed, torch's linear_cross_entropy (class-level), torch.compile of the dense twin.

examples:
  circlet bench
  circlet bench --batch 80 512 4096 --out bench
  circlet bench --batch 512 --classes 100000 --out bench
  circlet bench --batch 4096 16384 --dtype bf16 fp32 --device cuda"""


@dataclass(frozen=True)
class BenchArguments:
    """Arguments of `circlet bench`."""

    batch: tuple[int, ...] = (80, 512, 2048)
    """Batch sizes B."""
    dim: tuple[int, ...] = (512,)
    """Embedding dimensions D."""
    classes: tuple[int, ...] = ()
    """Numbers of classes C, for class-level labels; none: pair-wise labels."""
    dtype: tuple[Dtype, ...] = ("fp32",)
    """Dtypes of the operands."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    steps: int = 5
    """Rounds, of which the best counts."""
    threads: int = os.cpu_count() or 1
    """CPU threads."""
    memory_limit: float = 12.0
    """GiB; a contender that needs more by estimate is left out, and said so."""
    without: tuple[str, ...] = ()
    """Contenders to leave out, by name."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for bench.json, bench.md and bench.png; cases that bench.json already has are measured anew or kept."""

    def __post_init__(self) -> None:
        for name in ("steps", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected at least 1")
        if not self.batch or not self.dim or not self.dtype:
            raise ValueError("batch, dim, dtype: found none, expected at least one of each")


def main(arguments: list[str]) -> None:
    """Measure, print as it comes, write."""
    parsed = tyro.cli(BenchArguments, args=arguments, prog="circlet bench", description=DESCRIPTION)
    device = str(choose_device(parsed.device))
    classes: tuple[int | None, ...] = parsed.classes or (None,)
    cases = [
        Case(b, d, c, dtype, device) for dtype, c, d, b in product(parsed.dtype, classes, parsed.dim, parsed.batch)
    ]
    settings = Settings(parsed.steps, parsed.threads, parsed.memory_limit * 1024, parsed.without)
    results = Results(None if parsed.out is None else parsed.out / "bench.json")
    width = max(len(case.name) for case in cases)
    for case in cases:
        about = machine(parsed.threads, device)
        rows = []
        for row in measure(case, settings):
            print(f"{case.name:<{width}}  {_line(row)}", flush=True)
            rows.append(row)
        results.add(case, rows, about)
    if parsed.out is not None:
        write_text(parsed.out / "bench.md", table(results))
        write_atomically(parsed.out / "bench.png", lambda file: plot(results).savefig(file, format="png", dpi=130))
        print(f"\n{parsed.out / 'bench.md'}, bench.json, bench.png")


def _line(row: Measured) -> str:
    if row.seconds is None:
        return f"{row.contender:<36}  {row.reason}"
    memory = row.reason if row.extra_mib is None else f"{max(0.0, row.extra_mib):8.0f} MiB extra"
    return f"{row.contender:<36}  {row.seconds * 1e3:10.2f} ms  {memory}"
