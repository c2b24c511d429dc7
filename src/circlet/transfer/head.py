"""A linear head, trained on the features of a frozen network from where a closed form ends: seconds, not minutes.

Head first, and from a good start: a random head makes the first gradients meaningless (Kumar et al., "Fine-Tuning can
Distort Pretrained Features", ICLR 2022), and on few classes it never finds back to what the network knew of others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from circlet.similarity import unit_rows
from circlet.training.clip import clip_grad_norm_
from circlet.training.image_batches import BatchConfig, batch_sampler
from circlet.training.objective import Objective
from circlet.training.optimizer import OptimizerConfig, factor
from circlet.training.shards import is_sharded
from circlet.transfer.closed_form import LinearMap

Observe = Callable[[nn.Module, Tensor, Tensor], dict[str, float]]
SCHEDULE = OptimizerConfig(schedule="cosine", warmup=0.1)
CLIP_NORM = 5.0


@dataclass(frozen=True)
class HeadConfig:
    """How the linear head is trained on features."""

    steps: int = 200
    """Steps of the head; 0: it stays at its start."""
    learning_rate: float = 1e-4
    """Highest learning rate of the head (AdamW, warm-up, then cosine)."""

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"head.steps: found {self.steps}, expected 0 or a number of steps")
        if not self.learning_rate > 0:
            raise ValueError(f"head.learning_rate: found {self.learning_rate}, expected > 0")


class TrainedHead(NamedTuple):
    """The head, and lines for metrics.jsonl."""

    head: LinearMap
    log: list[dict[str, Any]]


def train_head(
    views: Sequence[Tensor],
    labels: Tensor,
    start: LinearMap,
    objective: Objective,
    config: HeadConfig,
    batch: BatchConfig,
    *,
    seed: int,
    log_every: int = 20,
    observe: Observe | None = None,
) -> TrainedHead:
    """Train from `start` on features (n, features), of which each of `views` has one version (mirrored images, say).

    Each image of a batch is in a view drawn by lot. labels: (n,) 0..classes - 1. objective: its class weights, if it
    has any, begin as the means of the classes' embeddings, and are trained too. observe: adds to the lines of the log.
    Everything is a function of `seed`, and of torch's global random numbers no more. FloatingPointError where the loss
    is not finite.
    """
    weight, bias = (nn.Parameter(part.clone()) for part in start)
    begin_at_means(objective, start(views[0]), labels)
    objective.train()
    own = [p for p in objective.parameters() if p.requires_grad]
    optimizers = [_AdamW([weight, bias], config.learning_rate)]
    if own:
        optimizers.append(_AdamW(own, config.learning_rate * _scale(own, weight)))
    parameters = [weight, bias, *own]
    sampler = batch_sampler(labels, int(labels.max()) + 1, batch, seed)
    generator = torch.Generator().manual_seed(seed)
    log: list[dict[str, Any]] = []
    losses: list[float] = []
    for step in range(config.steps):
        epoch, place = divmod(step, len(sampler))
        if place == 0:
            batches = sampler.batches(epoch, 0)
        items = torch.tensor(next(batches))
        view = torch.randint(len(views), (len(items), 1), generator=generator)
        rows = views[0][items]
        for number in range(1, len(views)):
            rows = torch.where(view == number, views[number][items], rows)
        embeddings = nn.functional.linear(rows, weight, bias)
        loss: Tensor = objective(embeddings, labels[items])
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        norm = clip_grad_norm_(parameters, CLIP_NORM)
        rate = factor(SCHEDULE, step, config.steps)
        for optimizer in optimizers:
            optimizer.step(rate)
        objective.remember(embeddings.detach(), labels[items])
        losses.append(float(loss.detach()))
        if not torch.isfinite(norm) or losses[-1] != losses[-1]:
            raise FloatingPointError(f"step {step + 1} of the head: found a loss of {losses[-1]} and a gradient of "
                                     f"norm {float(norm)}, expected finite numbers; try a smaller learning rate "
                                     "(--transfer.head.learning-rate)")  # fmt: skip
        if (step + 1) % log_every == 0 or step + 1 == config.steps:
            line = {"step": step + 1, "loss": sum(losses) / len(losses), "learning_rate": rate * config.learning_rate}
            with torch.no_grad():
                seen = {} if observe is None else observe(objective, embeddings.detach(), labels[items])
            log.append({**line, "gradient_norm": float(norm), **seen})
            losses.clear()
    return TrainedHead(LinearMap(weight.detach(), bias.detach()), log)


class _AdamW:
    """AdamW without weight decay, by PyTorch's own step.

    torch.optim.AdamW does the same, but importing the compiler that it asks for takes a tenth of a run on features.
    """

    def __init__(self, parameters: Sequence[Tensor], rate: float) -> None:
        self.parameters, self.rate = list(parameters), rate
        self.first, self.second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        self.steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One step with this share of the learning rate; a parameter without a gradient stays."""
        state = zip(self.parameters, self.first, self.second, self.steps, strict=True)
        for parameter, first, second, steps in state:
            if parameter.grad is not None:
                adamw([parameter], [parameter.grad], [first], [second], [], [steps], fused=True, amsgrad=False,
                      beta1=0.9, beta2=0.999, lr=share * self.rate, weight_decay=0.0, eps=1e-8,
                      maximize=False)  # fmt: skip


@torch.no_grad()
def begin_at_means(objective: Objective, embeddings: Tensor, labels: Tensor) -> None:
    """Set class weights of one centre a class to the directions of the classes' mean embeddings, with their own norms.

    embeddings: (n, dim), of the training images. Several centres a class, and weights spread over ranks, stay random.
    """
    classes = objective.classes
    weight = None if classes is None else getattr(classes, "weight", None)
    if weight is None or is_sharded(weight) or len(weight) != int(labels.max()) + 1:
        return
    unit = unit_rows(embeddings.float())
    means = torch.zeros(len(weight), unit.shape[1]).index_add_(0, labels, unit)
    weight.copy_(unit_rows(means) * weight.norm(dim=1, keepdim=True))


def _scale(own: Sequence[Tensor], weight: Tensor) -> float:
    """Learning rate of class weights relative to the head's, so that both turn alike at a step."""
    mine = torch.cat([p.detach().flatten() for p in own]).square().mean().sqrt()
    return float((mine / weight.detach().diagonal().square().mean().sqrt()).clamp(1.0, 100.0))
