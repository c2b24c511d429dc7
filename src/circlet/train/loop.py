"""The training loop: one optimiser step after another, saved often enough that nothing is lost.

The random numbers of a step (augmentation, dropout) are a function of (seed, step, rank), and its batch of (seed,
epoch, place in the epoch). So a run that is killed at any moment and resumed goes the same way as one that was not, on
a CPU bit for bit. The loop knows nothing of images, files or metrics: it is handed batches, an augmentation and a
validation.

In a process group of several ranks (see `processes`) each handles its part of the global batch; loss and gradients are
those of one process with the whole of it, and a run may go on with another number of ranks. Two things do depend on
the ranks: random numbers, and batch norm. On GPUs its statistics are over all ranks (SyncBatchNorm), in running
averages too; on CPUs each rank takes those of its own part, as a gradient cache takes those of a chunk, and the running
averages are rank 0's. Only rank 0 writes, shows progress and validates.
"""

import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from circlet.distributed import (
    any_rank,
    is_rank_0,
    naming_collective,
    naming_step,
    num_ranks,
    on_all_ranks,
    on_rank_0,
    rank_in,
)
from circlet.progress import progress
from circlet.train.checkpoint import load, load_module, load_optimizer
from circlet.train.clip import clip_grad_norm_
from circlet.train.config import LoopConfig
from circlet.train.gradient_cache import gradient_cache
from circlet.train.objective import Objective
from circlet.train.optimizer import backbone_of, build_optimizer, build_schedule, to_training
from circlet.train.precision import autocast_dtype
from circlet.train.run_folder import RunFolder
from circlet.train.shards import is_spread, whole
from circlet.train.stop import stop_requests

# What of a batch is worth a place in metrics.jsonl: (objective, embeddings, labels) to named numbers.
Observer = Callable[[nn.Module, Tensor, Tensor], dict[str, float]]


class Batches(Protocol):
    """The training data: every epoch the same number of batches, in an order that depends on the epoch alone.

    Over several ranks: this rank's part of each global batch.
    """

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
    observe: Observer | None = None,
) -> float:
    """Train `model` and `objective` in place, going on from the folder's last checkpoint if there is one.

    Gives the seconds spent in steps, those before an interruption included.

    validate: metrics of the model on validation classes; the first of them chooses the best checkpoint. On rank 0.
    observe: called without gradients after the backward pass of each step that writes a line of metrics.jsonl, with
    this rank's embeddings; what it finds on rank 0 joins the line. Over several ranks it is called on all of them, so
    that it may compute the loss again. What a call takes is spread over the `log_every` steps from line to line.

    Raises FloatingPointError where loss, embeddings or weights stop being finite, KeyboardInterrupt after a checkpoint
    when the process is asked to stop (SIGINT or SIGTERM), OSError where a checkpoint cannot be written.
    """
    dtype = autocast_dtype(config.precision, device)
    model.to(device)
    if num_ranks(None) > 1 and device.type == "cuda" and not config.chunk:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    to_training(model, config.optimizer)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are faster so
    objective.to(device).train()
    optimizer = build_optimizer(model, objective, config.optimizer)
    schedule = build_schedule(optimizer, config.optimizer, config.steps)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    step, best, seconds = 0, -float("inf"), 0.0
    losses: list[Tensor] = []  # since the last line of metrics.jsonl

    def restore() -> None:
        nonlocal step, best, seconds, losses
        state = load(folder.last, mapped=num_ranks(None) > 1)
        load_module(model, state["model"], folder.last)
        load_module(objective, state["objective"], folder.last)
        load_optimizer(optimizer, state["optimizer"], folder.last)
        schedule.load_state_dict(state["schedule"])
        scaler.load_state_dict(state["scaler"])
        step, best, seconds = state["step"], state["best"], state["seconds"]
        losses = [loss.to(device, copy=True) for loss in state["losses"]]

    def diverged(what: str) -> FloatingPointError:
        return FloatingPointError(
            f"step {step}: {what}; try a longer warm-up, a smaller learning rate, or bf16 for fp16 (last checkpoint: "
            f"{folder.last})"
        )

    def mean_loss() -> float:
        """Since the last line of metrics.jsonl; FloatingPointError if it is not finite."""
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise diverged(f"the loss is {mean}, expected a finite number")
        return mean

    def check() -> None:
        """FloatingPointError where losses or weights are not finite."""
        if losses:
            mean_loss()
        if any_rank(not _all_finite([*model.state_dict().values(), *objective.parameters()])):
            raise diverged("found NaN or infinity in the weights, expected finite numbers")

    def save(path: Path) -> None:
        check()  # else what has diverged would take the place of what has not
        parts = {"model": model, "objective": objective, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
        states = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]
        position = {"step": step, "best": best, "seconds": seconds, "losses": losses}
        state = whole({**states, **position})
        on_rank_0(lambda: folder.save(path, state))

    if on_rank_0(folder.last.exists):
        on_all_ranks(restore)
    spread = model
    if num_ranks(None) > 1:
        with naming_collective("set-up of DistributedDataParallel"):
            spread = DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def backward(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and embeddings of a batch, detached; the gradients are in the parameters."""
        found: list[Tensor] = []

        def scaled_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
            try:
                loss: Tensor = objective(embeddings, labels)
            except ValueError as error:
                if bool(images.isfinite().all()) and not _all_finite([embeddings, *objective.parameters()]):
                    raise diverged(
                        "found NaN or infinity in embeddings or class weights, expected finite numbers"
                    ) from error
                raise
            found.extend((loss.detach(), embeddings.detach()))
            return scaler.scale(loss)

        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            if config.chunk:
                gradient_cache(spread, scaled_loss, images, labels, config.chunk)
            else:
                embeddings = spread(images)
        if not config.chunk:
            scaled_loss(embeddings, labels).backward()
        return found[0], found[1]

    with (
        progress("train", config.steps, step, file=None if is_rank_0() else io.StringIO()) as shown,
        folder.metrics(from_step=step) if is_rank_0() else nullcontext(lambda line: None) as log,
        stop_requests() as stop,
    ):
        for images, labels in _from_step(batches, step, config.steps):
            started = time.monotonic()
            torch.manual_seed(config.seed * 1_000_003 + step + (rank_in(None) << 40))
            images, labels = augment(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            optimizer.zero_grad(set_to_none=True)
            with naming_step(step + 1):
                loss, embeddings = backward(images, labels)
            last = step + 1 == config.steps
            logging = (step + 1) % config.log_every == 0 or last
            observed: dict[str, float] = {}
            if logging and observe is not None:
                with torch.no_grad():
                    observed = observe(objective, embeddings, labels)
            if step < config.optimizer.freeze_backbone:
                for parameter in backbone_of(model).parameters():
                    parameter.grad = None
            scaler.unscale_(optimizer)
            norm = _clip(optimizer, config.optimizer.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            if isinstance(objective, Objective):
                objective.remember(embeddings, labels)
            learning_rate = schedule.get_last_lr()[0]
            schedule.step()
            step += 1
            seconds += time.monotonic() - started
            losses.append(loss)
            if logging:
                log({"step": step, "loss": mean_loss(), "learning_rate": learning_rate, "gradient_norm": float(norm),
                     "seconds": round(seconds, 3), **observed})  # fmt: skip
                losses.clear()
            if validate is not None and (step % config.validate_every == 0 or last):
                check()
                model.eval()
                metrics = on_rank_0(partial(validate, model))
                to_training(model, config.optimizer)
                log({"step": step, **{f"validation_{name}": value for name, value in metrics.items()}})
                shown.print(f"step {step}: validation " + ", ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
                score = next(iter(metrics.values()))
                if score > best:
                    best = score
                    save(folder.best)  # before last.pt: a run cut off between the two comes by here again
            stopping = any_rank(stop.requested)
            if step % config.checkpoint_every == 0 or last or stopping:
                save(folder.last)
            if stopping and not last:
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
    return clip_grad_norm_(parameters, float("inf") if clip_norm is None else clip_norm)


def _all_finite(tensors: Sequence[Any]) -> bool:
    """Of tensors that are spread over ranks this one's part."""
    own = [tensor.to_local() if is_spread(tensor) else tensor for tensor in tensors]
    found = [tensor.isfinite().all() for tensor in own if tensor.is_floating_point()]
    return not found or bool(torch.stack(found).all())
