"""What a run spent: cost.json, over all its sessions, those that were killed included."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from circlet.training import RunFolder

COST = "cost.json"  # of a run, beside its result.json


def keep_costs(
    folder: RunFolder, device: torch.device, *, threads: int, jobs: int, cpu_since: float = 0.0
) -> Callable[[bool], None]:
    """Count a session that begins now: the function that is given writes cost.json, told whether the run is finished.

    jobs: how many runs are made at once, for the record. cpu_since: CPU seconds of this process that are not the run's.
    """
    before = folder.read_json(COST) if (folder.path / COST).exists() else {}
    began = time.monotonic()

    def note(finished: bool) -> None:
        cost = {
            "finished": finished,
            "sessions": before.get("sessions", 0) + 1,
            "wall_seconds": before.get("wall_seconds", 0.0) + time.monotonic() - began,
            "cpu_seconds": before.get("cpu_seconds", 0.0) + time.process_time() - cpu_since,
            "peak_memory_mib": max(before.get("peak_memory_mib", 0.0), peak_memory_mib()),
            "threads": threads,
            "jobs": max(before.get("jobs", 0), jobs),
            "device": str(device),
        }
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device) / 2**20
            cost["peak_device_memory_mib"] = max(before.get("peak_device_memory_mib", 0.0), peak)
        folder.write_json(COST, cost)

    note(False)  # a session that is killed counts all the same
    return note


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, in MiB.

    On Linux VmHWM, since ru_maxrss starts from that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource  # macOS, in bytes

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
