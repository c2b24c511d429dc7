"""Mixing the weights of a network before and after fine-tuning (WiSE-FT: Wortsman et al., CVPR 2022)."""

from typing import Any

import torch
from torch import Tensor


def mix_states(before: dict[str, Any], after: dict[str, Any], share: float) -> dict[str, Any]:
    r"""The state dict between two of one network: (1 - share) before + share after.

    >>> before, after = {"weight": torch.tensor([0.0, 4.0])}, {"weight": torch.tensor([8.0, 4.0])}
    >>> mix_states(before, after, 0.25)
    {'weight': tensor([2., 4.])}

    Floating-point tensors are interpolated, statistics of batch norms among them; everything else, such as counts, is
    taken from `after`. share: of `after`, 0 to 1; at both ends exactly the one or the other. The tensors are new ones,
    in the dtype and on the device of those of `after`.

    Raises ValueError for a share outside 0 to 1, and for states with different names or shapes.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: found {share}, expected 0 to 1")
    for name in sorted(before.keys() ^ after.keys()):
        where = "before" if name in before else "after"
        raise ValueError(f"{where}: found {name!r}, which the other state lacks, expected two states of one network")
    return {name: _mixed(name, before[name], value, share) for name, value in after.items()}


def _mixed(name: str, before: Any, after: Any, share: float) -> Any:
    if not isinstance(after, Tensor):
        return after
    if not isinstance(before, Tensor) or before.shape != after.shape:
        found = tuple(before.shape) if isinstance(before, Tensor) else type(before).__name__
        raise ValueError(f"before: found {found} under {name!r}, expected shape {tuple(after.shape)}, that of after")
    if not after.is_floating_point():
        return after.clone()
    with torch.no_grad():
        return torch.lerp(before.to(after), after, share)
