"""The state of a run: everything that a step changes, as a checkpoint holds it.

Random numbers are no part of it: those of each step are a function of (seed, step, rank), and the batches of (seed,
epoch, place in the epoch).
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from circlet.distributed import any_rank, num_ranks, on_all_ranks, on_rank_0
from circlet.training.averaging import WeightAverage, model_weights
from circlet.training.blocks import module_blocks
from circlet.training.checkpoint import check_fits, load, load_module
from circlet.training.config import LoopConfig
from circlet.training.ending import Ending
from circlet.training.freezing import Freezing
from circlet.training.fsdp import Sharded, share_buffers
from circlet.training.optimizer import build_optimizer, build_schedule, factor, set_factor
from circlet.training.optimizer_state import load_optimizer, load_scaler, load_schedule
from circlet.training.own_parts import sharded_state
from circlet.training.precision import autocast_dtype
from circlet.training.run_folder import RunFolder
from circlet.training.shards import full_state, own_part
from circlet.training.waiting import Waiting


class TrainingState:
    """Model, objective, optimiser, schedule, gradient scaler, average of the weights, and how far the run is.

    model: what is trained, under `fsdp` the spread copy. sharded: that copy and the caller's model, else None. blocks:
    whose activations are computed again. compiled: whether torch.compile of the network is used; None: still to be
    measured. waiting: for batches. notes: lines to be shown. step: optimiser steps taken. best: highest validation
    score so far. seconds: spent in steps, those before an interruption included. losses: of the steps since the last
    line of metrics.jsonl, on the device.
    """

    def __init__(
        self, model: nn.Module, objective: nn.Module, config: LoopConfig, device: torch.device, folder: RunFolder
    ) -> None:
        self.config, self.device, self.folder = config, device, folder
        self.dtype = autocast_dtype(config.precision, device)
        several = num_ranks(None) > 1
        if several and device.type == "cuda" and not config.chunk:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.sharded = on_all_ranks(lambda: Sharded(model, device)) if config.fsdp and several else None
        self.model = _to_device(model, device) if self.sharded is None else self.sharded.network
        self.blocks = _blocks(self.model) if config.grad_checkpointing else []
        self.freezing = Freezing(self.model, config.optimizer)
        self.objective = objective.to(device).train()
        self.optimizer = build_optimizer(self.model, objective, config.optimizer)
        self.schedule = build_schedule(self.optimizer, config.optimizer, config.steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        decay = config.optimizer.average
        self.average = WeightAverage(self.model, trained, decay) if decay else None
        self.ending = Ending(config)
        self.step, self.best, self.seconds = 0, -float("inf"), 0.0
        self.losses: list[Tensor] = []
        self.compiled = _compiled(config, spread=self.sharded is not None)
        self.waiting = Waiting(device)
        self.notes: list[str] = []
        if self.sharded is not None:
            self.sharded.empty()

    def restore(self) -> None:
        """Go on from the folder's last checkpoint. A ValueError if it is damaged, or of another model or optimiser."""
        path = self.folder.last
        state = load(path, mapped=num_ranks(None) > 1, to_go_on=True)
        load_module(self.model, state["model"], path)
        load_module(self.objective, state["objective"], path)
        load_optimizer(self.optimizer, state["optimizer"], path)
        load_schedule(self.schedule, state["schedule"], path)
        load_scaler(self.scaler, state["scaler"], path)
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
        # As in a run that has had these steps from its start: it may be longer now than when it was saved.
        set_factor(self.optimizer, self.schedule, factor(self.config.optimizer, self.step, self.config.steps))
        self.losses = [loss.to(self.device, copy=True) for loss in state["losses"]]
        if self.average is not None:
            check_fits(self.model.state_dict(), model_weights(state), path, "the average of the weights")
            self.average.load_state_dict(model_weights(state))
        if "ending" in state:  # earlier versions knew no early end
            self.ending.load_state_dict(state["ending"], self.step)
        if "waiting" in state:
            self.waiting.load_state_dict(state["waiting"])
        if self.compiled is None:
            self.compiled = state.get("compiled")

    def save(self, path: Path) -> None:
        """Write a checkpoint, on rank 0, unless what it would hold is not finite; all ranks call it."""
        self.check_finite()  # else what has diverged would take the place of what has not
        state = {
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": sharded_state(self.optimizer),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "losses": self.losses,
            "ending": self.ending.state_dict(),
            "waiting": self.waiting.state_dict(),
            "compiled": self.compiled,
        }
        if self.average is not None:
            state["averaged"] = self.average.state_dict()
        full = full_state(state)
        on_rank_0(lambda: self.folder.save(path, full))

    def is_due(self, every: int) -> bool:
        """Whether what is done every so many steps is done now; it always is after the last step."""
        return self.ending.is_due(every, self.step)

    @property
    def is_over(self) -> bool:
        """Whether the last step has been taken."""
        return self.step >= self.ending.last_step

    @contextmanager
    def used_model(self) -> Iterator[nn.Module]:
        """The caller's model, for a while, with the weights that are validated and used: their average, where one is
        made. The same on all ranks, which call it together, the buffers too.
        """
        with nullcontext() if self.average is None else self.average.in_place():
            if self.sharded is not None:
                with self.sharded.whole() as model:
                    yield model
            else:
                if num_ranks(None) > 1:
                    share_buffers(self.model)
                yield self.model

    def release(self) -> None:
        """What is frozen or spread for the training alone is no more, however it ended."""
        self.freezing.end()
        if self.sharded is not None:
            self.sharded.lose()

    def end(self) -> None:
        """Leave the model as it is used: in evaluation mode, with the average of its weights where one is made."""
        if self.average is not None:
            self.average.put_in_place()
        if self.sharded is not None:
            self.sharded.fill()
            self.sharded.model.eval()
            return
        if num_ranks(None) > 1:
            share_buffers(self.model)
        self.model.eval()

    def check_finite(self) -> None:
        """FloatingPointError, on all ranks, where a loss since the last line or a weight on any of them is not.

        A buffer may hold infinity, as an attention mask does: there NaN alone is an error, and only if it is saved.
        """
        if self.losses:
            self.mean_loss()
        weights = [*self.model.parameters(), *self.objective.parameters()]
        saved = self.model.state_dict()
        buffers = [buffer for name, buffer in self.model.named_buffers() if name in saved]
        if any_rank(not all_finite(weights, buffers)):
            raise self.diverged("found NaN or infinity in the weights, expected finite numbers")

    def mean_loss(self) -> float:
        """Of the steps since the last line of metrics.jsonl; FloatingPointError if it is not finite."""
        mean = float(torch.stack(self.losses).mean())
        if not math.isfinite(mean):
            raise self.diverged(f"the loss is {mean}, expected a finite number")
        return mean

    def diverged(self, what: str) -> FloatingPointError:
        """The error that says what is not finite, at which step, and what there is to go on from."""
        saved = [path for path in (self.folder.last, self.folder.best) if path.is_file()]
        where = f"last checkpoint: {saved[0]}" if saved else "no checkpoint yet"
        return FloatingPointError(
            f"step {self.step}: {what}; try a longer warm-up, a smaller learning rate, or bf16 for fp16 ({where})"
        )


def all_finite(tensors: Iterable[Any], or_infinite: Iterable[Any] = ()) -> bool:
    """Whether all floating-point tensors are; of a tensor that is sharded over ranks this rank's shard is looked at.

    or_infinite: tensors of which only NaN is not.
    """
    found = [tensor.isfinite().all() for tensor in map(own_part, tensors) if tensor.is_floating_point()]
    found += [~tensor.isnan().any() for tensor in map(own_part, or_infinite) if tensor.is_floating_point()]
    return not found or bool(torch.stack(found).all())


def _to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on the device, convolutions channels-last, which is faster."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _compiled(config: LoopConfig, *, spread: bool) -> bool | None:
    if config.compile == "auto":
        return False if spread or config.grad_checkpointing else None
    return config.compile == "yes"


def _blocks(model: nn.Module) -> list[nn.Module]:
    blocks = module_blocks(model)
    if not blocks:
        raise ValueError("loop.grad_checkpointing: found no block of several layers in the network, expected at least "
                         "one, or grad_checkpointing False")  # fmt: skip
    return list(blocks.values())
