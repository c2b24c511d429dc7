"""Checks of rows and labels, shared by all sources: a ValueError names argument, what was found, what was expected."""

import math
from pathlib import Path

import torch
from torch import Tensor

from circlet.similarity import is_transformed


def check_rows(name: str, rows: Tensor, num_columns: int | None = None, like: str = "embeddings") -> None:
    """A floating-point (rows, dim) tensor, with as many columns as `like` has."""
    if not isinstance(rows, Tensor):
        raise ValueError(f"{name}: found {type(rows).__name__}, expected a tensor")
    if rows.ndim != 2:
        raise ValueError(f"{name}: found shape {tuple(rows.shape)}, expected (rows, dim)")
    if not rows.is_floating_point():
        raise ValueError(f"{name}: found {rows.dtype}, expected a floating-point dtype")
    if num_columns is not None and rows.shape[1] != num_columns:
        raise ValueError(f"{name}: found {rows.shape[1]} columns, expected {num_columns} as in {like}")


def check_device(name: str, tensor: Tensor, embeddings: Tensor) -> None:
    """On the device of the embeddings."""
    if tensor.device != embeddings.device:
        raise ValueError(f"{name}: found on {tensor.device}, expected on {embeddings.device} as embeddings")


def check_labels(name: str, labels: Tensor, rows: Tensor, rows_name: str) -> None:
    """An integer for each row, on the device of the rows."""
    if not isinstance(labels, Tensor):
        raise ValueError(f"{name}: found {type(labels).__name__}, expected a tensor")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: found {labels.dtype}, expected integers")
    if labels.shape != rows.shape[:1]:
        raise ValueError(f"{name}: found shape {tuple(labels.shape)}, expected ({len(rows)},), one for each row of "
                         f"{rows_name}")  # fmt: skip
    if labels.device != rows.device:
        raise ValueError(f"{name}: found on {labels.device}, expected on {rows.device} as {rows_name}")


def check_range(labels: Tensor, num_classes: int) -> None:
    """Labels in 0..num_classes-1; on another device than a CPU, and in compiled code, by an assertion there.

    Labels that a transform of torch.func is given are not looked at: an anchor of a missing class has no positive.
    """
    compiling = torch.compiler.is_compiling()
    if labels.numel() == 0:
        return
    if is_transformed() and (compiling or torch._C._functorch.is_functorch_wrapped_tensor(labels)):
        return
    low, high = labels.aminmax()
    if compiling or labels.device.type != "cpu":
        torch._assert_async((low >= 0) & (high < num_classes), "labels: found a class id beyond the class weights")
    elif low < 0 or high >= num_classes:
        found = int(low if low < 0 else high)
        raise ValueError(f"labels: found class id {found}, expected 0 to {num_classes - 1}: references has "
                         f"{num_classes} rows, one for each class (give reference_labels if they are not)")  # fmt: skip


def check_sizes(**sizes: int) -> None:
    """Each at least 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}: found {value}, expected at least 1")


def allocate(
    name: str, rows: int, columns: int, dtype: torch.dtype | None, device: torch.device | str | None
) -> Tensor:
    """Uninitialised (rows, columns); a MemoryError names the argument and the size if there is no room.

    On a CPU memory is only taken when it is written to, and the process would be killed then, so what is free counts.
    """
    dtype = dtype or torch.get_default_dtype()
    gib = rows * columns * dtype.itemsize / 2**30
    message = f"{name}: found {rows} rows of {columns} {dtype} here ({gib:,.1f} GiB), expected what fits into memory"
    kind = torch.get_default_device() if device is None else torch.device(device)
    if kind.type == "cpu" and gib > (free := _free_gib()):
        raise MemoryError(f"{message} ({free:,.1f} GiB are free)")
    try:
        return torch.empty(rows, columns, dtype=dtype, device=device)
    except RuntimeError as error:
        raise MemoryError(message) from error


def _free_gib() -> float:
    """What Linux says is available; elsewhere unknown, so endless."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return math.inf
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("MemAvailable")), math.inf)
