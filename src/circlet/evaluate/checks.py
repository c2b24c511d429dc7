"""Input of the evaluation functions: checked, with errors that name the argument, and scaled to unit rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from circlet import similarity


def checked_embeddings(name: str, embeddings: Tensor, first_row: int = 0, *, may_be_empty: bool = False) -> Tensor:
    """`embeddings`, if they are finite floats of shape (n, dim), not empty; rows are counted from `first_row`.

    may_be_empty: n may be 0, as on a rank that has no rows.
    """
    if not isinstance(embeddings, Tensor) or not embeddings.is_floating_point():
        found = embeddings.dtype if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ValueError(f"{name}: found {found}, expected a tensor of a float dtype")
    if may_be_empty and embeddings.ndim == 2 and len(embeddings) == 0 < embeddings.shape[1]:
        return embeddings
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(f"{name}: found shape {tuple(embeddings.shape)}, expected (n, dim), neither of them 0")
    if not (embeddings.amin().isfinite() and embeddings.amax().isfinite()):  # (a mask of all would take memory)
        bad = (~embeddings.isfinite()).any(dim=1).nonzero().squeeze(1)
        first = first_row + int(bad[0])
        raise ValueError(f"{name}: found {len(bad)} rows with nan or inf, the first is row {first}")
    return embeddings


def as_tensor(name: str, values: Any, expected: str) -> Tensor:
    """`values` as a tensor; a ValueError that names the argument if they cannot be one."""
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name}: found no numbers ({error}), expected {expected}") from error


def checked_labels(name: str, labels: Tensor | Sequence[int], rows: Tensor) -> Tensor:
    """`labels` as int64 on the device of `rows`, if they are integers, one for each row."""
    checked = as_tensor(name, labels, f"integers ({len(rows)},)")
    if checked.dtype.is_floating_point or checked.dtype.is_complex or checked.dtype == torch.bool:
        raise ValueError(f"{name}: found dtype {checked.dtype}, expected integers")
    if checked.shape != (len(rows),):
        raise ValueError(f"{name}: found shape {tuple(checked.shape)}, expected ({len(rows)},)")
    if checked.dtype == torch.uint64 and (checked.view(torch.int64) < 0).any():
        raise ValueError(f"{name}: found numbers beyond 63 bits, expected integers up to {2**63 - 1}")
    return checked.to(rows.device, torch.int64)


def checked_same(is_same: Tensor | Sequence[bool], num_pairs: int) -> Tensor:
    """`is_same` on the CPU, if it is (num_pairs,) booleans."""
    checked = as_tensor("is_same", is_same, f"booleans ({num_pairs},)")
    if checked.dtype != torch.bool or checked.shape != (num_pairs,):
        raise ValueError(f"is_same: found {checked.dtype} {tuple(checked.shape)}, expected booleans ({num_pairs},)")
    return checked.cpu()


def check_fractions(name: str, fractions: Sequence[float]) -> None:
    """Each in (0, 1]."""
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ValueError(f"{name}: found {fraction}, expected fractions above 0 and up to 1")


def unit_rows(embeddings: Tensor) -> Tensor:
    """Rows of length 1, in float32 or float64; a row of zeros stays as it is."""
    return similarity.unit_rows(embeddings.to(torch.promote_types(embeddings.dtype, torch.float32)))


def unit_pair(name: str, rows: Tensor, other_name: str, others: Tensor) -> tuple[Tensor, Tensor]:
    """Unit rows of both, in one dtype; a ValueError if dimension or device differ."""
    if others.shape[1] != rows.shape[1] or others.device != rows.device:
        raise ValueError(
            f"{other_name}: found dimension {others.shape[1]} on {others.device}, "
            f"expected that of {name}, {rows.shape[1]} on {rows.device}"
        )
    dtype = torch.promote_types(rows.dtype, others.dtype)
    return unit_rows(rows.to(dtype)), unit_rows(others.to(dtype))
