"""Checkpoints: everything that the next step depends on, as plain tensors and numbers.

Model, class weights, optimiser, schedule and gradient scaler are here, and the position in the data. Random numbers
need no state: those of each step are a function of (seed, step), and the batches of (seed, epoch).
"""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code in it (weights_only)."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; expected one that circlet train has written")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns of pickles that it has not written
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, Warning) as error:
        reason = (str(error) or "the file ends too early").splitlines()[0]
        raise ValueError(f"{path}: found no readable checkpoint ({reason})") from error
    if not isinstance(state, dict) or "model" not in state:
        raise ValueError(f"{path}: found no circlet checkpoint, expected one that circlet train has written")
    return state


def load_module(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load `state` into `module`; ValueError that says how the architectures differ if they do."""
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    differences = [
        f"{len(names)} {kind}, such as {names[0]}"
        for kind, names in (("missing", missing), ("unknown", unknown), ("of another shape", sorted(shapes)))
        if names
    ]
    if differences:
        raise ValueError(
            f"{path}: holds another architecture than {type(module).__name__}: parameters {'; '.join(differences)}"
        )
    module.load_state_dict(state)
