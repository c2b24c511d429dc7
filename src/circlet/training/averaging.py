r"""The exponential moving average of the weights over the steps (Polyak averaging), as it is used in place of the last.

    average_t = d_t average_(t-1) + (1 - d_t) weights_t,    d_t = min(decay, (1 + t) / (10 + t)),    t = 0, 1, ...

The decay is warmed up, as in TensorFlow's ExponentialMovingAverage, so that a short run forgets where it began. Buffers
(statistics of batch norms) are those of the last step. Each rank averages for itself, what it holds of the weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from circlet.training.shards import own_part, own_shard


class WeightAverage:
    """The average of those parameters of a model that are trained, beginning with their values when it is made."""

    def __init__(self, model: nn.Module, trained: list[nn.Parameter], decay: float) -> None:
        self.model, self.decay = model, decay
        chosen = {id(parameter) for parameter in trained}
        self.parameters = {name: p for name, p in model.named_parameters() if id(p) in chosen}
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` (0-based)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            own_part(self.averages[name]).lerp_(own_part(parameter), share)

    def state_dict(self) -> dict[str, Any]:
        """The model's state dict with the averages in place of the weights."""
        averages = {id(parameter): self.averages[name] for name, parameter in self.parameters.items()}
        named = self.model.named_parameters(remove_duplicate=False)  # a shared parameter has several names
        return {**self.model.state_dict(), **{name: averages[id(p)] for name, p in named if id(p) in averages}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave, in full tensors."""
        for name, average in self.averages.items():
            own_part(average).copy_(own_part(own_shard(state[name], average)))

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Copy the averages into the model."""
        for name, parameter in self.parameters.items():
            own_part(parameter).copy_(own_part(self.averages[name]))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages are in the model for a while; afterwards the weights are again, bit for bit."""
        weights = {name: own_part(parameter).clone() for name, parameter in self.parameters.items()}
        self.put_in_place()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    own_part(parameter).copy_(weights[name])


def model_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of the model that a checkpoint is for: their average where one was made, else the last ones.

    >>> model_weights({"model": {"weight": torch.tensor(2.0)}})
    {'weight': tensor(2.)}

    state: of `circlet.training.load`.
    """
    found: dict[str, Tensor] = state["averaged"] if state.get("averaged") else state["model"]
    return found
