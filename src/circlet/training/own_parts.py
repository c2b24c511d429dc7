"""An optimiser of sharded parameters, whose step takes this rank's parts of them as the plain tensors that they are.

Every operation on a DTensor costs some 50 microseconds and torch's loops over many tensors at once take none, so what
the optimiser keeps of a parameter is plain too; it is a sharded tensor again in a checkpoint.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, optim

from circlet.training.shards import as_shard, is_sharded, own_part


@contextmanager
def on_own_parts(optimizer: optim.Optimizer) -> Iterator[None]:
    """Within it the parameters of the optimiser, and their gradients, are this rank's parts, in the same memory."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {parameter: own_part(parameter) for parameter in parameters if is_sharded(parameter)}
    for parameter, part in parts.items():
        part.grad = None if parameter.grad is None else own_part(parameter.grad)
    _replace(optimizer, parts)
    try:
        yield
    finally:
        _replace(optimizer, {part: parameter for parameter, part in parts.items()})


def _replace(optimizer: optim.Optimizer, by: dict[Tensor, Tensor]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [by.get(parameter, parameter) for parameter in group["params"]]
    kept = {by.get(parameter, parameter): values for parameter, values in optimizer.state.items()}
    optimizer.state = defaultdict(dict, kept)


def sharded_state(optimizer: optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state dict, in which what is kept of a sharded parameter is sharded."""
    state = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = {
        number: {
            name: as_shard(value, parameters[number]) if name != "step" and isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": kept}
