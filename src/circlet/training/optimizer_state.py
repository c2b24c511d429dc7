"""What a checkpoint holds of optimiser, schedule and gradient scaler, checked and loaded.

torch takes what it is given and fails steps later, so all is compared with what the run itself would hold. Settings
that a version of torch does not know are passed over, and those that the checkpoint does not have stay as they are.
"""

from itertools import chain
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, optim

from circlet.training.shards import own_shard
from circlet.typed import shown, typed


class _Optimizer(TypedDict):
    state: Any  # by number of the parameter
    param_groups: list[dict[str, Any]]


class _Scaler(TypedDict):
    scale: float
    growth_factor: float
    backoff_factor: float
    growth_interval: int
    _growth_tracker: int


def load_optimizer(optimizer: optim.Optimizer, state: dict[str, Any], path: Path) -> None:
    """Load `state`, of full tensors, into `optimizer`; a ValueError if it is of other parameters, or of none."""
    state = _typed(_Optimizer, state, "optimizer", path)
    groups, own_groups = state["param_groups"], optimizer.param_groups
    parameters = [parameter for group in own_groups for parameter in group["params"]]
    sizes = [len(group["params"]) if isinstance(group.get("params"), list) else -1 for group in groups]
    if sizes != [len(group["params"]) for group in own_groups] or [
        *chain.from_iterable(group["params"] for group in groups)
    ] != [*range(len(parameters))]:
        raise ValueError(f"{path}: holds the optimiser of other parameters than this run trains")
    merged = [
        {"params": group["params"], **_alike(group, own, f"optimizer.param_groups[{number}]", path)}
        for number, (group, own) in enumerate(zip(groups, own_groups, strict=True))
    ]
    states = {}
    if not isinstance(state["state"], dict):
        raise ValueError(f"{path}: optimizer.state: found {shown(state['state'])}, expected an object")
    for number, values in state["state"].items():
        where = f"{path}: optimizer.state[{shown(number)}]"
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(values, dict):
            raise ValueError(f"{where}: found {shown(values)}, expected what is kept of one of {len(parameters)} "
                             "parameters")  # fmt: skip
        states[number] = {name: _own(value, parameters[number], f"{where}.{name}") for name, value in values.items()}
    optimizer.load_state_dict({"state": states, "param_groups": merged})


def load_schedule(schedule: optim.lr_scheduler.LambdaLR, state: dict[str, Any], path: Path) -> None:
    """Load `state` into `schedule`: how far it is, and the rates that it multiplies; ValueError if it has none."""
    own = schedule.state_dict()
    for key in ("last_epoch", "base_lrs"):
        if key not in state:
            raise ValueError(f"{path}: schedule.{key}: found no such key, expected one")
    schedule.load_state_dict({**own, **_alike(state, own, "schedule", path), "lr_lambdas": own["lr_lambdas"]})


def load_scaler(scaler: torch.amp.GradScaler, state: dict[str, Any], path: Path) -> None:
    """Load `state` into `scaler`, which starts anew where the run had none: it trained in another precision."""
    if state and scaler.is_enabled():
        scaler.load_state_dict(_typed(_Scaler, state, "scaler", path))


def _own(value: Any, parameter: Tensor, where: str) -> Any:
    """What an optimiser keeps of a parameter: a tensor of its shape, this rank's shard of it, or a number."""
    if value is None or isinstance(value, int | float):
        return value
    if not isinstance(value, Tensor) or (value.shape != parameter.shape and value.numel() != 1):
        found = tuple(value.shape) if isinstance(value, Tensor) else shown(value)
        raise ValueError(f"{where}: found {found}, expected a number or a tensor {tuple(parameter.shape)}")
    return own_shard(value, parameter) if value.shape == parameter.shape else value.clone()


def _alike(found: dict[str, Any], own: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """`own`, with what was found under the same keys; a ValueError for a value of another kind."""
    kept = {key: value for key, value in found.items() if key in own and key not in ("params", "lr_lambdas")}
    for key, value in kept.items():
        if _kind(value) != _kind(own[key]):
            raise ValueError(f"{path}: {name}.{key}: found {shown(value)}, expected one such as {shown(own[key])}")
    return {**{key: value for key, value in own.items() if key != "params"}, **kept}


def _kind(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return [_kind(item) for item in value] if isinstance(value, list | tuple) else type(value)


def _typed(kind: Any, state: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = typed(kind, state, name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return found
