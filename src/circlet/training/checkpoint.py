"""Checkpoints: everything that the next step depends on, as plain tensors and numbers.

Model, class weights, memory bank, optimiser, schedule and gradient scaler are here, and the position in the data.
Random numbers need no state: those of each step are a function of (seed, step, rank), and the batches of (seed,
epoch). Tensors are in full, on however many ranks the run was (see `shards`).
"""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from circlet.training.shards import own_shard


def load(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code in it (weights_only).

    mapped: map the file into memory, so that a rank that needs one shard of a tensor reads that alone.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; expected one that circlet train has written")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns of pickles that it has not written
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, Warning) as error:
        reason = (str(error) or "the file ends too early").splitlines()[0]
        raise ValueError(f"{path}: found no readable checkpoint ({reason})") from error
    if not isinstance(state, dict) or "model" not in state:
        raise ValueError(f"{path}: found no circlet checkpoint, expected one that circlet train has written")
    return state


def load_module(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load `state`, of full tensors, into `module`; a ValueError that says how the architectures differ if they do."""
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if getattr(own[name], "shape", None) != getattr(state[name], "shape", None)
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
    tensors = {name: own_shard(value, own[name]) for name, value in state.items() if isinstance(value, Tensor)}
    module.load_state_dict({**state, **tensors})


def load_optimizer(optimizer: optim.Optimizer, state: dict[str, Any], path: Path) -> None:
    """Load `state`, of full tensors, into `optimizer`; a ValueError if it is of other parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if sum(len(group["params"]) for group in state["param_groups"]) != len(parameters):
        raise ValueError(f"{path}: holds the optimiser of other parameters than this run trains")

    def own(value: Any, parameter: Tensor) -> Any:
        if not isinstance(value, Tensor):
            return value
        return own_shard(value, parameter) if value.shape == parameter.shape else value.clone()

    states = {
        i: {name: own(value, parameters[i]) for name, value in values.items()} for i, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": states})
