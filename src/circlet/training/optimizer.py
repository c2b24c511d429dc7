"""Optimiser, parameter groups and learning-rate schedule.

Three groups, each with a learning rate of its own: the backbone, the head (everything else of the model), and the
class weights. Biases, norms and other vectors get no weight decay.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import nn, optim


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimiser, with which learning rates, weight decay, clipping and freezing."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    """AdamW; Adam, whose weight decay is part of the gradient; or SGD with Nesterov momentum 0.9."""
    learning_rate: float = 2e-3
    """Peak learning rate of the head: everything that is neither backbone nor class weights."""
    backbone_lr_scale: float = 1.0
    """Learning rate of the backbone relative to the head's."""
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

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate: found {self.learning_rate}, expected > 0")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: found {self.warmup}, expected a fraction of the steps from 0 to below 1")
        if self.freeze_backbone < 0:
            raise ValueError(f"freeze_backbone: found {self.freeze_backbone}, expected a number of steps")


def build_optimizer(model: nn.Module, objective: nn.Module, config: OptimizerConfig) -> optim.Optimizer:
    """Optimiser over the model (its attribute `backbone`, if any, is the backbone) and the class weights."""
    in_backbone = {id(p) for p in backbone_of(model).parameters()}
    scales = [
        (config.backbone_lr_scale, [p for p in model.parameters() if id(p) in in_backbone]),
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


def backbone_of(model: nn.Module) -> nn.Module:
    """The model's attribute `backbone`; an empty module if there is none."""
    return model.get_submodule("backbone") if hasattr(model, "backbone") else nn.Module()


def to_training(model: nn.Module, config: OptimizerConfig) -> None:
    """Put the model into training mode; under `freeze_batchnorm` the backbone's batch norms stay in evaluation mode."""
    model.train()
    if config.freeze_batchnorm:
        for module in backbone_of(model).modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval().requires_grad_(False)


def build_schedule(optimizer: optim.Optimizer, config: OptimizerConfig, steps: int) -> optim.lr_scheduler.LambdaLR:
    """Learning-rate factor over the steps: linear warm-up, then the schedule. Step it once after each update."""
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(config, step, steps))


def factor(config: OptimizerConfig, step: int, steps: int) -> float:
    """Learning rate at `step` (0-based) as a fraction of the highest.

    >>> config = OptimizerConfig(warmup=0.1, schedule="step", milestones=(0.5,))
    >>> [round(factor(config, step, 100), 3) for step in (0, 4, 9, 10, 49, 50, 99)]
    [0.1, 0.5, 1.0, 1.0, 1.0, 0.1, 0.1]
    """
    warmup_steps = round(config.warmup * steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))
    if config.schedule == "step":
        return float(0.1 ** sum(step >= milestone * steps for milestone in config.milestones))
    return 1.0
