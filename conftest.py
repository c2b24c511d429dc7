"""What holds for every test, doctests too: a worker has one thread, and only tests that say so start processes.

Files with tests that start processes or are slow come first, so that no worker is left alone with them in the end.

Tests marked `subprocess` (by themselves, or because they are marked `browser` or `compile`) may start processes; any
other test that does so fails, so `make quick` starts none.
"""

import os
import sys
from importlib.util import find_spec
from multiprocessing import util
from typing import Any

import pytest

# Doctests are collected from all modules; those of the Triton kernels need Triton, which only Linux has.
collect_ignore_glob = [] if find_spec("triton") else ["src/circlet/similarity/gpu/*"]

# Two workers of pytest-xdist on two cores: one thread each, of what they start too. PyTorch is not loaded yet.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # else it starts processes, each of which loads PyTorch

STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "circlet.spawn"}
# By which matplotlib finds typefaces, `platform` and joblib the processor, and `similarity.native` is built: once.
HARMLESS = [("fc-list",), ("system_profiler",), ("uname",), ("lscpu",), ("gcc",)]
LONG = {"subprocess", "slow"}
LONGEST = {f"tests/{name}.py" for name in ("fuzz/test_kills", "training/test_ranks", "cli/test_restart",
           "references/test_ranks", "export/test_families", "compare/test_comparison", "docs/test_site")}  # fmt: skip
running: pytest.Item | None = None  # the test, while it may not start a process


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Fail the running test at the line that starts a process."""
    if event in STARTS and running is not None and arguments[:1] not in HARMLESS:
        pytest.fail(f"{running.nodeid} starts a process ({event} {arguments[:2]}): mark it `subprocess`")


def spawned(path: Any, *arguments: Any) -> int:
    """Processes of multiprocessing's `spawn` raise no audit event by themselves."""
    sys.audit("circlet.spawn", path)
    return spawn(path, *arguments)


spawn, util.spawnv_passfds = util.spawnv_passfds, spawned
sys.addaudithook(watch)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes by its kind; what is long first, by file, as the tests of one share fixtures."""
    for item in items:
        if "browser" in item.keywords or "compile" in item.keywords:
            item.add_marker("subprocess")
    long = {item.path for item in items if any(item.get_closest_marker(name) for name in LONG)}
    items.sort(key=lambda item: (item.nodeid.partition("::")[0] not in LONGEST, item.path not in long))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Watch the test, its fixtures included."""
    global running
    running = None if item.get_closest_marker("subprocess") else item
    try:
        return (yield)
    finally:
        running = None
