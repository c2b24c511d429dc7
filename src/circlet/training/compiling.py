"""torch.compile of the network: whether it can be compiled here, and whether that pays, found by measuring.

The parameters stay the model's own, with their names: only what is called in the steps is another. Validation calls the
model itself. Results differ by rounding, and dropout draws other numbers.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from circlet.distributed import any_rank, on_rank_0

LEAST_SECONDS = 3600.0  # of steps to go, below which "auto" does not try: compiling takes minutes
FIRST_STEPS = 5  # after which is known what a step takes
LEAST_GAIN = 0.03  # of the time of a pass, to be worth it
_PASSES = 3


class Passes(NamedTuple):
    """Seconds of a forward and a backward pass as the network is and compiled, and of compiling it."""

    plain: float
    compiled: float
    compiling: float

    @property
    def pays(self) -> bool:
        """Whether the compiled network is faster by enough."""
        return self.compiled < (1 - LEAST_GAIN) * self.plain

    def told(self) -> str:
        """What was found, in one line."""
        found = "compiled from here on" if self.pays else "left as it is"
        return (f"loop.compile: forward and backward take {self.plain:.3g} s, compiled {self.compiled:.3g} s "
                f"({self.compiling:.0f} s to compile): {found}")  # fmt: skip


class CannotCompileError(ValueError):
    """The network cannot be compiled here."""


def compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """What is called in place of the model; it is compiled when it is called first.

    CannotCompileError, in one line, where there is no compiler.
    """
    missing = compiler_missing(device)
    if missing:
        raise CannotCompileError(f"loop.compile: {missing}, or no")
    return torch.compile(model)  # type: ignore[return-value]


def prepare(network: nn.Module, images: Tensor, dtype: torch.dtype) -> float:
    """Compile for such images by a forward and backward pass that leaves nothing behind; gives its seconds.

    CannotCompileError, in one line, where that fails.
    """
    try:
        with _buffers_kept(network):
            return _pass(network, images, dtype)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of the compiler, of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CannotCompileError(f"loop.compile: found a network that cannot be compiled ({type(error).__name__}: "
                                 f"{reason[:200]}), expected auto or no") from error  # fmt: skip


def measured(model: nn.Module, network: nn.Module, images: Tensor, dtype: torch.dtype) -> Passes:
    """The model beside `network`, itself compiled, in turns; the least of several passes. Leaves nothing behind.

    CannotCompileError as in `prepare`.
    """
    compiling = prepare(network, images, dtype)
    with _buffers_kept(model):
        _pass(model, images, dtype)
        times = [(_pass(model, images, dtype), _pass(network, images, dtype)) for _ in range(_PASSES)]
    plain, fast = (min(each) for each in zip(*times, strict=True))
    return Passes(plain, fast, compiling)


def tried(model: nn.Module, images: Tensor, dtype: torch.dtype) -> tuple[nn.Module | None, str]:
    """The compiled network where it is faster, else None; and what was found, in one line. The same on all ranks."""
    network, found, failed = None, None, ""
    try:
        network = compiled(model, images.device)
        found = measured(model, network, images, dtype)
    except CannotCompileError as error:
        failed = f"{error}; left as it is"
    if any_rank(found is None):
        return None, failed or "loop.compile: found another rank that cannot compile the network; left as it is"
    passes = on_rank_0(lambda: found)
    assert passes is not None
    return network if passes.pays else None, passes.told()


def compiler_missing(device: torch.device) -> str:
    """What is missing to compile for a CPU, as the end of a message; empty where nothing is known to be.

    >>> "expected" in (compiler_missing(torch.device("cpu")) or "expected")
    True
    """
    if device.type != "cpu":
        return ""
    name = os.environ.get("CXX") or {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return "" if shutil.which(name) else f"found no C++ compiler ({name}), expected one (CXX names another)"


def _pass(network: nn.Module, images: Tensor, dtype: torch.dtype) -> float:
    """Seconds of a forward and backward pass; no gradient is kept."""
    _wait_for(images.device)
    began = time.perf_counter()
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        rows = network(images)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    torch.autograd.grad(rows.float().sum(), trained, allow_unused=True)
    _wait_for(images.device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Buffers, such as running statistics, are afterwards what they were before, and the same tensors."""
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
