"""On what something was run: machine, versions, command; for run folders, figures of time and memory, and reports.

`python -m circlet.environment` prints what a report of a mistake should say.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


def environment() -> dict[str, Any]:
    """The machine, and the command of this process, its threads and its GPUs."""
    return {
        **machine("circlet", "torch"),
        "command": sys.argv,
        "platform": platform.platform(),
        "cpu_threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def machine(*packages: str) -> dict[str, Any]:
    """Date, processor, cores, load over the last minute, vector instructions; versions of Python and the packages.

    >>> machine("circlet", "no-such-package")["no-such-package"]
    'not installed'
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _processor(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
    }


def _report() -> None:
    packages = ("circlet", "torch", "numpy", "pillow", "matplotlib", "tyro", "pyarrow", "triton", "timm")
    found = {**machine(*packages), "platform": platform.platform()}
    found["gcc"] = shutil.which("gcc") or "none: the loss goes without kernels in C"
    found["GPUs"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] or "none"
    found["variables"] = {name: value for name, value in os.environ.items() if name.startswith(("CIRCLET_", "OMP_"))}
    for name, value in found.items():
        print(f"{name}: {value}")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    _report()
