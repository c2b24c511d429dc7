"""One optimiser step: augment, forward, loss, backward, clip, update.

The random numbers of a step (augmentation, dropout) are a function of (seed, step, rank).
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from circlet.distributed import naming_collective, naming_step, num_ranks, on_all_ranks, on_rank_0, rank_in
from circlet.training.clip import clip_grad_norm_
from circlet.training.compiling import FIRST_STEPS, LEAST_SECONDS, CannotCompileError, compiled, prepare, tried
from circlet.training.config import LoopConfig
from circlet.training.gradient_cache import chunks_of, gradient_cache
from circlet.training.objective import Objective
from circlet.training.optimizer import factor, set_factor
from circlet.training.own_parts import on_own_parts
from circlet.training.recompute import recomputing
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
        state.freezing.at(state.step)
        self.network: nn.Module = state.model
        self.settled = state.compiled is False
        self.model = self._called()

    def __call__(self, images: Tensor, labels: Tensor) -> Taken:
        """Train on a batch (this rank's part of it)."""
        state = self.state
        thawed = state.freezing.at(state.step)
        if not self.settled:
            self._settle(images, labels)
        started = time.monotonic()
        place = state.ending.look(state.step, state.seconds / max(state.step, 1))
        if self.config.seconds is not None:
            set_factor(state.optimizer, state.schedule, factor(self.config.optimizer, place, self.config.steps))
        if thawed:
            self.model = self._called()
        torch.manual_seed(self.config.seed * 1_000_003 + state.step + (rank_in(None) << 40))
        images, labels = self._seen(images, labels)
        state.optimizer.zero_grad(set_to_none=True)
        with naming_step(state.step + 1), recomputing(state.blocks):
            loss, embeddings = self._backward(images, labels)
        state.ending.look_again(state.step)
        observed: dict[str, float] = {}
        if self.observe is not None and state.ending.is_due(self.config.log_every, state.step + 1):
            with torch.no_grad():
                observed = self.observe(state.objective, embeddings, labels)
        norm = self._update()
        if isinstance(state.objective, Objective):
            state.objective.remember(embeddings, labels)
        learning_rate = float(state.optimizer.param_groups[0]["lr"])
        state.schedule.step()
        if state.average is not None:
            state.average.update(state.step)
        state.step += 1
        state.seconds += time.monotonic() - started
        state.losses.append(loss)
        return Taken(learning_rate, norm, observed)

    def _seen(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A batch on the device, as the model is trained on it."""
        device = self.state.device
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        return (images, labels) if self.augment is None else self.augment(images, labels)

    def _settle(self, images: Tensor, labels: Tensor) -> None:
        """Compile the network, or leave it as it is, once the settings, the checkpoint or the time to go can tell."""
        state = self.state
        if state.compiled is None:
            if state.step < FIRST_STEPS or not state.freezing.trained:
                return
            if not self._is_trained() or on_rank_0(self._seconds_to_go) < LEAST_SECONDS:
                state.compiled, self.settled = False, True
                return
        self.settled = True
        views = self._seen(images, labels)[0]
        part = views[: self.config.chunk or None]
        if state.compiled is None:
            network, note = tried(state.model, part, state.dtype)
            state.compiled = network is not None
            state.notes.append(note)
        else:
            network = self._compiled(part)
        if network is not None:
            self.network = network
            self.model = self._called()

    def _compiled(self, images: Tensor) -> nn.Module | None:
        """The network compiled, as a run was told to have it, or has had it before."""
        model = self.state.model

        def ready() -> nn.Module:
            network = compiled(model, images.device)
            prepare(network, images, self.state.dtype)
            return network

        try:
            return on_all_ranks(ready)
        except CannotCompileError as error:
            if self.config.compile == "yes":
                raise
            self.state.notes.append(f"{error}; the run was begun compiled, and goes on as it is")
            return None

    def _seconds_to_go(self) -> float:
        """As the steps so far tell."""
        steps = self.state.ending.expected_steps(self.state.step) - self.state.step
        return steps * self.state.seconds / max(self.state.step, 1)

    def _called(self) -> nn.Module:
        """What is called in place of the model: over several ranks its wrapper, which averages the gradients.

        It knows only the parameters that are trained when it is made. A model spread over ranks averages them itself.
        """
        if num_ranks(None) == 1 or self.state.sharded is not None or not self._is_trained():
            return self.network
        device = self.state.device
        with naming_collective("set-up of DistributedDataParallel"):
            return DistributedDataParallel(self.network, device_ids=[device] if device.type == "cuda" else None)

    def _is_trained(self) -> bool:
        """Whether the model has anything to train now, beside class weights."""
        return any(parameter.requires_grad for parameter in self.state.model.parameters())

    def _backward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and embeddings of a batch, detached; the gradients are in the parameters."""
        dtype = self.state.dtype
        found: list[Tensor] = []

        def scaled_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
            loss = self._loss(images, embeddings, labels)
            found.extend((loss.detach(), embeddings.detach()))
            return self.state.scaler.scale(loss)

        # Of weights that are spread over ranks no cast copies are kept: they are whole for a short time only.
        kept = self.state.sharded is None
        with torch.autocast(self.state.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=kept):
            if self.config.chunk and self._is_trained():
                gradient_cache(self.model, scaled_loss, images, labels, self.config.chunk)
                return found[0], found[1]
            if self.config.chunk:
                embeddings = torch.cat([self.model(part) for part in chunks_of(self.model, images, self.config.chunk)])
            else:
                embeddings = self.model(images)
        loss = scaled_loss(embeddings, labels)  # without autocast: it computes in fp32
        if loss.requires_grad or self.state.freezing.trained:  # else a backbone alone in the steps that it is frozen
            loss.backward()
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
        state.scaler.unscale_(state.optimizer)
        parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
        norm = clip_grad_norm_(parameters, float("inf") if config.clip_norm is None else config.clip_norm)
        with on_own_parts(state.optimizer):
            state.scaler.step(state.optimizer)
        state.scaler.update()
        return norm
