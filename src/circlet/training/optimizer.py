"""Optimiser, parameter groups and learning-rate schedule.

Three parts, each with a learning rate of its own: the backbone, the head (everything else of the model), and the
class weights. Under `layer_decay` each block of the backbone has one of its own. Biases, norms and other vectors get no
weight decay. What is frozen, and when, is `freezing`'s business.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn, optim

from circlet.models.depth import blocks_of


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimiser, with which learning rates, weight decay, clipping and freezing."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW; Adam, whose weight decay is part of the gradient; or SGD with Nesterov momentum 0.9."""
    learning_rate: float = 2e-3
    """Peak learning rate of the head: everything that is neither backbone nor class weights."""
    backbone_lr_scale: float = 1.0
    """Learning rate of the backbone relative to the head's."""
    layer_decay: float = 1.0
    """Learning rate of each block of the backbone relative to that of the next one; the last has the backbone's. .65 to
    .9 protects a pretrained network (Clark et al. 2020; Bao et al. 2022); 1: the same for all."""
    class_lr_scale: float = 1.0
    """Learning rate of the class weights relative to the head's."""
    weight_decay: float = 5e-4
    """Weight decay of matrices and filters (not of biases and norms)."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """After the warm-up: cosine to zero, divide by 10 at each milestone, or constant."""
    milestones: tuple[float, ...] = (0.5, 0.7, 0.9)
    """Where the step schedule divides by 10, as fractions of all steps."""
    warmup: float = 0.05
    """Fraction of all steps over which the learning rate rises linearly from zero; Circle loss needs it."""
    clip_norm: float | None = 5.0
    """Largest gradient norm; None: no clipping."""
    freeze_batchnorm: bool = False
    """The backbone's batch norms keep their statistics, scales and shifts: for fine-tuning with small batches."""
    freeze_backbone: int = 0
    """Steps at the start in which the backbone keeps its weights (its batch norms still update their statistics)."""
    train_blocks: int | None = None
    """Blocks of the backbone that are trained, from its end; None: all; 0: none. The others keep everything, the
    statistics of their batch norms too, and cost no backward pass."""
    average: float = 0.0
    """Decay of a moving average of the weights over the steps, such as .99, which is what is validated, tested and
    used; 0: none, the last weights are."""

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: found {self.learning_rate}, expected > 0")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: found {self.warmup}, expected a fraction of the steps from 0 to below 1")
        if self.freeze_backbone < 0:
            raise ValueError(f"freeze_backbone: found {self.freeze_backbone}, expected a number of steps")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay: found {self.layer_decay}, expected above 0 and at most 1")
        if self.train_blocks is not None and self.train_blocks < 0:
            raise ValueError(f"train_blocks: found {self.train_blocks}, expected None or a number of blocks")
        for name in ("backbone_lr_scale", "class_lr_scale", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 0 or more")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm: found {self.clip_norm}, expected None or a number above 0")
        if not 0 <= self.average < 1:
            raise ValueError(f"average: found {self.average}, expected a decay from 0 to below 1")


def build_optimizer(model: nn.Module, objective: nn.Module, config: OptimizerConfig) -> optim.Optimizer:
    """Optimiser over the model (its attribute `backbone`, if any, is the backbone) and the class weights.

    Over those of their parameters that require a gradient, in an order that depends on model and settings alone.
    """
    in_backbone = {id(p) for p in backbone_of(model).parameters()}
    scales = [
        *_backbone_scales(backbone_of(model), config),
        (1.0, [p for p in model.parameters() if id(p) not in in_backbone]),
        (config.class_lr_scale, list(objective.parameters())),
    ]
    groups = []
    for scale, parameters in scales:
        for decay, chosen in (
            (config.weight_decay, [p for p in parameters if p.requires_grad and p.ndim > 1]),
            (0.0, [p for p in parameters if p.requires_grad and p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": scale * config.learning_rate, "weight_decay": decay})
    if not groups:
        raise ValueError("model: found no trainable parameter, expected at least one")
    if config.name == "adamw":
        return optim.AdamW(groups)
    if config.name == "adam":
        return optim.Adam(groups)
    return optim.SGD(groups, momentum=0.9, nesterov=True)


def _backbone_scales(backbone: nn.Module, config: OptimizerConfig) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """Learning rates relative to the head's, from the last block, which has the backbone's own, to the first."""
    if config.layer_decay == 1:
        yield config.backbone_lr_scale, list(backbone.parameters())
        return
    for place, block in enumerate(reversed(blocks_of(backbone))):
        yield config.backbone_lr_scale * config.layer_decay**place, [parameter for _, parameter in block]


def backbone_of(model: nn.Module) -> nn.Module:
    """The model's attribute `backbone`; an empty module if there is none."""
    return model.get_submodule("backbone") if hasattr(model, "backbone") else nn.Module()


def build_schedule(optimizer: optim.Optimizer, config: OptimizerConfig, steps: int) -> optim.lr_scheduler.LambdaLR:
    """Learning-rate factor over the steps: linear warm-up, then the schedule. Step it once after each update."""
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(config, step, steps))


def set_factor(optimizer: optim.Optimizer, schedule: optim.lr_scheduler.LambdaLR, value: float) -> None:
    """Set all learning rates to `value` times their highest, until the schedule's next step."""
    for group, highest in zip(optimizer.param_groups, schedule.base_lrs, strict=True):
        group["lr"] = highest * value


def factor(config: OptimizerConfig, step: float, steps: int) -> float:
    """Learning rate at `step` (0-based) as a fraction of the highest.

    >>> config = OptimizerConfig(warmup=0.1, schedule="step", milestones=(0.5,))
    >>> [round(factor(config, step, 100), 3) for step in (0, 4, 9, 10, 49, 50, 99)]
    [0.1, 0.5, 1.0, 1.0, 1.0, 0.1, 0.1]

    step: may lie between two, where the place in a run is told by its time.
    """
    warmup_steps = round(config.warmup * steps)
    if step < warmup_steps:
        return min((step + 1) / warmup_steps, 1.0)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))
    if config.schedule == "step":
        return float(0.1 ** sum(step >= milestone * steps for milestone in config.milestones))
    return 1.0
