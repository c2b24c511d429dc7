"""Measuring: best time and peak memory of each contender of a case.

The contenders take turns within one process, so that a busy machine is unfair to none; the best of the rounds counts.
Memory is the high-water mark of one step above the operands, less their gradients: on a CPU of the resident set, in a
fresh process for each contender; on a GPU of the allocator. Both run as child processes of this module:

    python -m circlet.bench.measure '{"batch": 80, ...}' [NAME]
"""

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from circlet.bench.cases import Case, Data
from circlet.bench.contenders import COMPILED, FLOOR, Step, contenders

SLOW_MIB = 1000  # a similarity matrix from which on a step takes seconds: one round


@dataclass(frozen=True)
class Settings:
    """Rounds, CPU threads, memory that a contender may take by estimate, and whose names to leave out."""

    steps: int = 5
    threads: int = 1
    memory_limit_mib: float = 12_000
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Seconds of a step and MiB beyond operands and gradients; or None and why."""

    contender: str
    seconds: float | None = None
    extra_mib: float | None = None
    reason: str = ""


def measure(case: Case, settings: Settings) -> Iterator[Measured]:
    """Every contender of the case, as its figures come."""
    times = _child(case, settings)
    if isinstance(times, str):
        raise RuntimeError(f"{case.name}: {times}")
    for name, found in times.items():
        if isinstance(found, str):
            yield Measured(name, reason=found)
            continue
        memory = _child(case, settings, name)
        failed = isinstance(memory, str)
        yield Measured(name, found, None if failed else memory, f"memory: {memory}" if failed else "")


def time_all(case: Case, settings: Settings) -> dict[str, float | str]:
    """Best seconds of each contender, or why it was left out."""
    data = Data(case)
    offers = {
        name: build if isinstance(build, str) or name not in settings.without else "left out"
        for name, build in contenders(case, settings.memory_limit_mib).items()
    }
    slow = case.matrix_mib > SLOW_MIB
    # Steps of less than a millisecond are timed by the hundred.
    repeats = 1 if slow else max(1, min(1000, int(2e6 / case.batch / (case.num_classes or case.batch))))
    best: dict[str, float | str] = {
        name: build if isinstance(build, str) else float("inf") for name, build in offers.items()
    }
    builders = {name: build for name, build in offers.items() if not isinstance(build, str)}
    steps = {name: build(data) for name, build in builders.items()}
    for round_ in range(-1, 1 if slow else settings.steps):
        for name, step in steps.items():
            warming = round_ < 0
            if isinstance(best[name], str):
                continue
            # For a step of seconds a small one is warm-up enough, unless it compiles.
            small = warming and slow and name != COMPILED
            try:
                seconds = _timed(builders[name](Data(_small(case))) if small else step, 1 if warming else repeats, case)
            except (RuntimeError, ImportError) as error:
                best[name] = f"failed: {str(error).strip().splitlines()[0][:100]}"
            else:
                best[name] = best[name] if warming else min(float(best[name]), seconds)
    return best


def _small(case: Case) -> Case:
    """A case whose step loads all libraries of the large one, those of the tiles too."""
    return Case(min(case.batch, 1024), case.dim, case.num_classes and 4096, case.dtype, case.device)


def _timed(step: Step, repeats: int, case: Case) -> float:
    wait: Callable[[], None] = torch.cuda.synchronize if case.device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    wait()
    return (time.perf_counter() - start) / repeats


def peak_extra_mib(case: Case, name: str) -> float:
    """High-water mark of one step above the operands, less the gradients."""
    builder = contenders(case, float("inf"))[name]
    assert not isinstance(builder, str)
    builder(Data(_small(case)))()
    data = Data(case)
    step = builder(data)
    if name == COMPILED:
        step()
    gradients = sum(leaf.numel() * leaf.element_size() for leaf in data.leaves) / 2**20
    if name == FLOOR:
        gradients = 0.0
    if case.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        step()
        return torch.cuda.max_memory_allocated() / 2**20 - before - gradients
    ctypes.CDLL(None).malloc_trim(0)  # what the small step has left must not hide a part of this one
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before - gradients


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _child(case: Case, settings: Settings, *name: str) -> Any:
    """What the child printed, or why it failed."""
    told = json.dumps({"case": asdict(case), "settings": asdict(settings)})
    command = [sys.executable, "-P", "-m", "circlet.bench.measure", told, *name]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return f"failed: {result.stderr.strip().splitlines()[-1] if result.stderr.strip() else 'killed'}"
    return json.loads(result.stdout.strip().splitlines()[-1])


def _main() -> None:
    told, *name = sys.argv[1:]
    given = json.loads(told)
    case, settings = Case(**given["case"]), Settings(**given["settings"])
    torch.set_num_threads(settings.threads)
    print(json.dumps(peak_extra_mib(case, name[0]) if name else time_all(case, settings)))


if __name__ == "__main__":
    _main()
