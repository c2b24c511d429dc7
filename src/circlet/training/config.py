"""The settings of the loop; those of its optimiser are in `optimizer`."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from circlet.training.optimizer import OptimizerConfig


@dataclass(frozen=True)
class LoopConfig:
    """How long to train, in which precision, and how often to log, save and validate."""

    steps: Annotated[int, tyro.conf.arg(aliases=["--steps"])] = 600
    """Optimiser steps."""
    seconds: float | None = None
    """Time for training, its data and validations included, after which it ends as if its steps were over (at the step
    nearest to it; the last validation comes on top); None: no limit. The learning rate then falls with the time, where
    that is further on than the steps: no two such runs are exactly alike."""
    patience: int = 0
    """Validations in a row without a better score after which training stops; 0: never."""
    seed: int = 0
    """Seed of the weights, the batches and the augmentation."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast dtype of the model; auto: bf16 where the device computes in it, else fp32. The loss stays in fp32."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """torch.compile of the network, which takes minutes, and a C++ compiler on a CPU. auto: it is tried where an hour
    of steps is to come, and kept if they are faster; a run that is resumed does as before."""
    chunk: int = 0
    """Gradient cache: images whose activations a rank holds at a time, 0: those of the whole batch. The gradient is the
    same, for one forward pass more; batch norm takes the statistics of a chunk."""
    grad_checkpointing: bool = False
    """Keep only the inputs of the backbone's blocks, and compute what is within a block again for its gradient. The
    result is the same, for about a third more time."""
    fsdp: bool = False
    """Over several ranks: spread the weights, their gradients and what the optimiser keeps over them, a block whole
    only while it computes (PyTorch's FSDP2), for a network that a device cannot train whole. The result is the same."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl; the telemetry of the batch in each line costs 1 to 20 % of a step."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    validate_every: int = 200
    """Steps between evaluations on the held-out validation classes, if there are any."""
    trackers: tuple[str, ...] = ()
    """Told of every line of metrics.jsonl: package.module:name each; see circlet.training.trackers."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser and schedule."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"loop.{name}: found {getattr(self, name)}, expected at least 1")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"loop.seconds: found {self.seconds}, expected None or a finite number above 0")
        for name in ("grad_checkpointing", "fsdp"):
            if self.compile == "yes" and getattr(self, name):
                raise ValueError(f"loop.compile: found yes with loop.{name}, expected auto or no: blocks with a way "
                                 "of their own of being called are not compiled")  # fmt: skip
        if self.seed < 0:
            raise ValueError(f"loop.seed: found {self.seed}, expected 0 or more")
        if self.patience < 0:
            raise ValueError(f"loop.patience: found {self.patience}, expected 0 or a number of validations")
        if self.chunk < 0:
            raise ValueError(f"loop.chunk: found {self.chunk}, expected 0 or a number of images")
