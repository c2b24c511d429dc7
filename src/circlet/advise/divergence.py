"""What to change in a run that diverged: its loss, embeddings or weights were no finite numbers any more."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from circlet.advise.extremes import Counts, chance_loss
from circlet.advise.suggestion import Suggestion, gentler
from circlet.experiments import Experiment, build_loss

TOO_LARGE = 1e6  # of the loss of random embeddings: beyond it, float32 has no room for gradients and their squares
CLIP_NORM = 5.0


def after_divergence(
    reason: str, experiment: Experiment, losses: Sequence[dict[str, Any]], references: Counts | None, dim: int
) -> Suggestion:
    """The advice for it, most telling first: a loss without measure, half precision, steps that are too large.

    reason: as `RunFolder.diverged` has it. losses: lines of the log with a loss. references: of an anchor, None if
    unknown. dim: of embeddings.
    """
    what, _, _ = reason.partition("; try ")
    if losses:
        what += f"; before it {losses[-1]['loss']:.3g} at step {losses[-1]['step']}"
    changes = [*_numbers(experiment, references, dim), *_precision(experiment)]
    if experiment.loop.optimizer.clip_norm is None:
        changes.append(f"--loop.optimizer.clip-norm {CLIP_NORM:g}")
    if " of the head" in what:
        changes.append(f"--transfer.head.learning-rate {experiment.transfer.head.learning_rate / 10:g}")
    else:
        changes.append(gentler(experiment.loop.optimizer))
    return Suggestion("the training diverged", what, "; or ".join(changes))


def _numbers(experiment: Experiment, references: Counts | None, dim: int) -> list[str]:
    """The loss's own gamma, where with this one even random embeddings have a loss beyond measure."""
    loss = build_loss(experiment.loss)
    if references is None or "gamma" not in loss.hyper_parameters:
        return []
    chance = chance_loss(loss, references, dim)
    if math.isfinite(chance) and chance < TOO_LARGE:
        return []
    own = build_loss(replace(experiment.loss, settings=())).hyper_parameters["gamma"]
    if own == loss.hyper_parameters["gamma"]:
        return []
    return [f"--loss.gamma {own:g} (the loss of random embeddings is {chance:.3g})"]


def _precision(experiment: Experiment) -> list[str]:
    return ["--loop.precision bf16, or fp32"] if experiment.loop.precision == "fp16" else []
