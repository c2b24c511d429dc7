"""The training loop: one optimiser step after another, saved often enough that nothing is lost.

The random numbers of a step (augmentation, dropout) are a function of (seed, step), and its batch of (seed, epoch,
place in the epoch). So a run that is killed at any moment and resumed goes the same way as one that was not, on a CPU
bit for bit. The loop knows nothing of images, files or metrics: it is handed batches, an augmentation and a validation.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

import torch
import tyro
from torch import Tensor, nn

from circlet.train.checkpoint import load, load_module
from circlet.train.optimizer import OptimizerConfig, build_optimizer, build_schedule
from circlet.train.progress import progress
from circlet.train.run_folder import RunFolder
from circlet.train.stop import stop_requests


@dataclass(frozen=True)
class LoopConfig:
    """How long and how carefully to train."""

    steps: Annotated[int, tyro.conf.arg(aliases=["--steps"])] = 600
    """Optimiser steps."""
    seed: int = 0
    """Seed of the weights, the batches and the augmentation."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast dtype of the model; auto: bf16 where the device computes in it, else fp32. The loss stays in fp32."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    checkpoint_every: int = 200
    """Steps between checkpoints."""
    validate_every: int = 200
    """Steps between evaluations on the held-out validation classes, if there are any."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser and schedule."""

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected at least 1")


class Batches(Protocol):
    """The training data: every epoch the same number of batches, in an order that depends on the epoch alone."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start_batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (images, labels) of an epoch, from `start_batch` on."""


def fit(
    model: nn.Module,
    objective: nn.Module,
    batches: Batches,
    config: LoopConfig,
    folder: RunFolder,
    *,
    device: torch.device,
    augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
) -> float:
    """Train `model` and `objective` in place, going on from the folder's last checkpoint if there is one.

    Gives the seconds spent in steps, those before an interruption included.

    validate: metrics of the model on validation classes; the first of them chooses the best checkpoint.

    Raises FloatingPointError where the loss stops being finite, KeyboardInterrupt after a checkpoint when the process
    is asked to stop (SIGINT or SIGTERM), OSError where a checkpoint cannot be written.
    """
    dtype = _autocast_dtype(config.precision, device)
    model.to(device).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are faster so
    objective.to(device).train()
    optimizer = build_optimizer(model, objective, config.optimizer)
    schedule = build_schedule(optimizer, config.optimizer, config.steps)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    parts = {"optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    step, best, seconds = 0, -float("inf"), 0.0
    losses: list[Tensor] = []  # since the last line of metrics.jsonl
    if folder.last.exists():
        state = load(folder.last)
        load_module(model, state["model"], folder.last)
        load_module(objective, state["objective"], folder.last)
        for name, part in parts.items():
            part.load_state_dict(state[name])  # type: ignore[attr-defined]
        step, best, seconds = state["step"], state["best"], state["seconds"]
        losses = [loss.to(device) for loss in state["losses"]]

    def save(path: Any) -> None:
        modules = {"model": model.state_dict(), "objective": objective.state_dict()}
        states = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]
        position = {"step": step, "best": best, "seconds": seconds, "losses": losses}
        folder.save(path, {**modules, **states, **position})

    with (
        progress("train", config.steps, step) as shown,
        folder.metrics(from_step=step) as log,
        stop_requests() as stop,
    ):
        for images, labels in _from_step(batches, step, config.steps):
            started = time.monotonic()
            torch.manual_seed(config.seed * 1_000_003 + step)
            images, labels = augment(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                embeddings = model(images)
            loss = objective(embeddings, labels)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = _clip(optimizer, config.optimizer.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            learning_rate = schedule.get_last_lr()[0]
            schedule.step()
            step += 1
            seconds += time.monotonic() - started
            losses.append(loss.detach())
            last = step == config.steps
            if step % config.log_every == 0 or last:
                mean_loss = float(torch.stack(losses).mean())
                losses.clear()
                if mean_loss != mean_loss or abs(mean_loss) == float("inf"):
                    raise FloatingPointError(
                        f"step {step}: the loss is {mean_loss}, expected a finite number; try a longer warm-up, a "
                        f"smaller learning rate, or bf16 for fp16 (last checkpoint: {folder.last})"
                    )
                log({"step": step, "loss": mean_loss, "learning_rate": learning_rate, "gradient_norm": float(norm),
                     "seconds": round(seconds, 3)})  # fmt: skip
            if validate is not None and (step % config.validate_every == 0 or last):
                metrics = _validate(model, validate)
                log({"step": step, **{f"validation_{name}": value for name, value in metrics.items()}})
                shown.print(f"step {step}: validation " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
                score = next(iter(metrics.values()))
                if score > best:
                    best = score
                    save(folder.best)  # before last.pt: a run cut off between the two comes by here again
            if step % config.checkpoint_every == 0 or last or stop.requested:
                save(folder.last)
            if stop.requested and not last:
                raise KeyboardInterrupt(f"stopped at step {step}; go on with: circlet train --resume {folder.path}")
            shown.advance(**({"loss": float(losses[-1])} if losses and device.type == "cpu" else {}))
    model.eval()
    return seconds


def _from_step(batches: Batches, step: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    while step < steps:
        epoch, start = divmod(step, len(batches))
        for batch in batches.epoch(epoch, start):
            yield batch
            step += 1
            if step == steps:
                return


def _clip(optimizer: torch.optim.Optimizer, clip_norm: float | None) -> Tensor:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return torch.nn.utils.clip_grad_norm_(parameters, float("inf") if clip_norm is None else clip_norm)


def _validate(model: nn.Module, validate: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
    model.eval()
    metrics = validate(model)
    model.train()
    return metrics


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    if precision == "auto":
        return torch.bfloat16 if has_bf16 else torch.float32
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision: found fp16 on a CPU, expected auto, fp32 or bf16 there")
    if precision == "bf16" and device.type == "cuda" and not has_bf16:
        raise ValueError(f"precision: found bf16 on {torch.cuda.get_device_name(device)}, which lacks it; expected "
                         "auto, fp32 or fp16")  # fmt: skip
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
