"""What a checkpoint holds of optimiser, schedule and gradient scaler, checked and loaded.

torch takes what it is given and fails steps later, so all is compared with what the run itself would hold. Settings
that a version of torch does not know are passed over, those that the checkpoint does not have stay as they are, and so
do the flags (amsgrad, foreach, ...), which are the run's own.
"""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, optim

from circlet.training.checkpoint import is_plain
from circlet.training.shards import own_part, own_shard
from circlet.typed import naming, shown, typed, wrong

KEPT: dict[type[optim.Optimizer], list[str]] = {
    optim.SGD: ["momentum_buffer"],
    optim.Adam: ["exp_avg", "exp_avg_sq", "step"],
    optim.AdamW: ["exp_avg", "exp_avg_sq", "step"],
}
"""What our optimisers (`circlet.training.optimizer`) keep of a parameter, once it has had a gradient."""

MAX_STEPS = 2**53  # whole numbers that a float holds


class _Group(TypedDict):
    params: list[int]  # and settings


class _Optimizer(TypedDict):
    state: Any  # by number of the parameter
    param_groups: list[_Group]


class _Schedule(TypedDict):
    last_epoch: int
    base_lrs: list[float]
    _last_lr: NotRequired[list[float]]
    _step_count: NotRequired[int]


class _Scaler(TypedDict):
    scale: float
    growth_factor: float
    backoff_factor: float
    growth_interval: int
    _growth_tracker: int


def load_optimizer(optimizer: optim.Optimizer, state: dict[str, Any], path: Path) -> None:
    """Load `state`, of full tensors, into `optimizer`; a ValueError if it is of other parameters, or of none."""
    with naming(path):
        state = typed(_Optimizer, state, "optimizer")
        groups, own_groups = state["param_groups"], optimizer.param_groups
        if [group["params"] for group in groups] != [g["params"] for g in optimizer.state_dict()["param_groups"]]:
            raise ValueError("holds the optimiser of other parameters than this run trains")
        merged = [
            _settings(group, own, f"optimizer.param_groups[{number}]")
            for number, (group, own) in enumerate(zip(groups, own_groups, strict=True))
        ]
        parameters = [parameter for group in own_groups for parameter in group["params"]]
        if not isinstance(state["state"], dict):
            raise wrong("optimizer.state", state["state"], "an object")
        states = {}
        for number, values in state["state"].items():
            where = f"optimizer.state[{shown(number)}]"
            if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(values, dict):
                raise wrong(where, values, f"what is kept of one of {len(parameters)} parameters")
            states[number] = _kept(values, parameters[number], type(optimizer), where)
    optimizer.load_state_dict({"state": states, "param_groups": merged})


def load_schedule(schedule: optim.lr_scheduler.LambdaLR, state: dict[str, Any], path: Path) -> None:
    """Load `state` into `schedule`: how far it is, and the rates that it multiplies; ValueError if it has none."""
    with naming(path):
        found = typed(_Schedule, state, "schedule")
        for key in ("base_lrs", "_last_lr"):
            if len(found.get(key, schedule.base_lrs)) != len(schedule.base_lrs):
                raise wrong(f"schedule.{key}", found[key], f"a list of {len(schedule.base_lrs)}")
    known = {key: value for key, value in found.items() if key in _Schedule.__annotations__}
    schedule.load_state_dict({**schedule.state_dict(), **known})


def load_scaler(scaler: torch.amp.GradScaler, state: dict[str, Any], path: Path) -> None:
    """Load `state` into `scaler`, which starts anew where the run had none: it trained in another precision."""
    if state and scaler.is_enabled():
        with naming(path):
            scaler.load_state_dict(typed(_Scaler, state, "scaler"))


def _kept(values: dict[Any, Any], parameter: Tensor, kind: type[optim.Optimizer], where: str) -> dict[str, Any]:
    """What an optimiser keeps of a parameter, this rank's shard of it; nothing where it has had no gradient."""
    if values and set(values) != set(KEPT[kind]):
        raise ValueError(f"{where}: found {sorted(map(str, values))}, expected what {kind.__name__} keeps of a "
                         f"parameter, {KEPT[kind]}")  # fmt: skip
    return {
        name: _step(value, f"{where}.step") if name == "step" else _like(value, parameter, f"{where}.{name}")
        for name, value in values.items()
        if value is not None or name != "momentum_buffer"
    }


def _step(value: Any, where: str) -> Tensor:
    """How many steps it has taken, as a tensor, as torch itself keeps it."""
    if isinstance(value, Tensor) and value.numel() == 1 and is_plain(value, torch.zeros(())):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_STEPS:
        raise wrong(where, value, "a number of steps")
    return torch.tensor(float(value))


def _like(value: Any, parameter: Tensor, where: str) -> Tensor:
    shape = tuple(parameter.shape)
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        found = tuple(value.shape) if isinstance(value, Tensor) else shown(value)
        raise ValueError(f"{where}: found {found}, expected a tensor {shape}")
    if not is_plain(value, parameter):
        raise ValueError(f"{where}: found another kind of tensor ({value.dtype}, {value.layout}), expected one of "
                         f"{parameter.dtype}")  # fmt: skip
    return own_part(own_shard(value, parameter))  # plain, as `own_parts` keeps it


def _settings(found: dict[str, Any], own: dict[str, Any], name: str) -> dict[str, Any]:
    """Those of a group: `own`, with the numbers that were found; a ValueError for a value of another kind."""
    settings = {**own, "params": found["params"]}
    for key, value in found.items():
        if key == "params" or key not in own or _kind(own[key]) == "flag":
            continue
        if _kind(value) != _kind(own[key]):
            raise wrong(f"{name}.{key}", value, f"one such as {shown(own[key])}")
        settings[key] = value
    return settings


def _kind(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return [_kind(item) for item in value] if isinstance(value, list | tuple) else type(value)
