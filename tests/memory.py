"""The memory that a step takes, as Linux counts it for this process."""

from collections.abc import Callable
from pathlib import Path


def peak_beyond(step: Callable[[], object]) -> float:
    """MiB resident at most while it runs, beyond those before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    before = _mib("VmRSS")
    step()
    return _mib("VmHWM") - before


def _mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
