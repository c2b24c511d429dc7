"""One optimiser step: augment, forward, loss, backward, clip, update.

The random numbers of a step (augmentation, dropout) are a function of (seed, step, rank).
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from circlet.distributed import naming_collective, naming_step, num_ranks, rank_in
from circlet.training.clip import clip_grad_norm_
from circlet.training.config import LoopConfig
from circlet.training.gradient_cache import gradient_cache
from circlet.training.objective import Objective
from circlet.training.optimizer import backbone_of
from circlet.training.state import TrainingState, all_finite

Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Images and labels of a batch, on the device, to those that the model is trained on."""

Observer = Callable[[nn.Module, Tensor, Tensor], dict[str, float]]
"""What of a batch is worth a place in metrics.jsonl: (objective, embeddings, labels) to named numbers."""


class Taken(NamedTuple):
    """What a step did, beside the loss that it appended to the state's."""

    learning_rate: float
    gradient_norm: Tensor
    observed: dict[str, float]


class Step:
    """Takes the steps of a run: each call is one batch, and changes the state."""

    def __init__(
        self, state: TrainingState, config: LoopConfig, *, augment: Augment | None, observe: Observer | None
    ) -> None:
        self.state, self.config, self.augment, self.observe = state, config, augment, observe
        self.model = state.model  # what is called: over several ranks its wrapper, which averages the gradients
        if num_ranks(None) > 1:
            on_gpu = state.device.type == "cuda"
            with naming_collective("set-up of DistributedDataParallel"):
                self.model = DistributedDataParallel(state.model, device_ids=[state.device] if on_gpu else None)

    def __call__(self, images: Tensor, labels: Tensor) -> Taken:
        """Train on a batch (this rank's part of it)."""
        state, started = self.state, time.monotonic()
        torch.manual_seed(self.config.seed * 1_000_003 + state.step + (rank_in(None) << 40))
        images, labels = images.to(state.device, non_blocking=True), labels.to(state.device, non_blocking=True)
        if self.augment is not None:
            images, labels = self.augment(images, labels)
        state.optimizer.zero_grad(set_to_none=True)
        with naming_step(state.step + 1):
            loss, embeddings = self._backward(images, labels)
        observed: dict[str, float] = {}
        if self.observe is not None and self.config.is_due(self.config.log_every, state.step + 1):
            with torch.no_grad():
                observed = self.observe(state.objective, embeddings, labels)
        norm = self._update()
        if isinstance(state.objective, Objective):
            state.objective.remember(embeddings, labels)
        learning_rate = float(state.schedule.get_last_lr()[0])
        state.schedule.step()
        state.step += 1
        state.seconds += time.monotonic() - started
        state.losses.append(loss)
        return Taken(learning_rate, norm, observed)

    def _backward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and embeddings of a batch, detached; the gradients are in the parameters."""
        dtype = self.state.dtype
        found: list[Tensor] = []

        def scaled_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
            loss = self._loss(images, embeddings, labels)
            found.extend((loss.detach(), embeddings.detach()))
            return self.state.scaler.scale(loss)

        with torch.autocast(self.state.device.type, dtype, enabled=dtype != torch.float32):
            if self.config.chunk:
                gradient_cache(self.model, scaled_loss, images, labels, self.config.chunk)
            else:
                embeddings = self.model(images)
        if not self.config.chunk:
            scaled_loss(embeddings, labels).backward()  # the loss without autocast: it computes in fp32
        return found[0], found[1]

    def _loss(self, images: Tensor, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The objective of a batch; FloatingPointError where it refuses embeddings that training has made infinite."""
        objective = self.state.objective
        try:
            loss: Tensor = objective(embeddings, labels)
        except ValueError as error:
            if bool(images.isfinite().all()) and not all_finite([embeddings, *objective.parameters()]):
                raise self.state.diverged(
                    "found NaN or infinity in embeddings or class weights, expected finite numbers"
                ) from error
            raise
        if loss.ndim:
            raise ValueError(f"objective: found a loss of shape {tuple(loss.shape)}, expected a scalar (reduction "
                             "'mean' or 'sum')")  # fmt: skip
        return loss

    def _update(self) -> Tensor:
        """Move the parameters by their gradients; gives the norm of these before clipping."""
        state, config = self.state, self.config.optimizer
        if state.step < config.freeze_backbone:
            for parameter in backbone_of(state.model).parameters():
                parameter.grad = None
        state.scaler.unscale_(state.optimizer)
        parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
        norm = clip_grad_norm_(parameters, float("inf") if config.clip_norm is None else config.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        return norm
