"""What advice is made of."""

from typing import NamedTuple

from circlet.training import OptimizerConfig


class Suggestion(NamedTuple):
    """problem: what is wrong; evidence: the numbers that say so, with their steps; change: flags of circlet train."""

    problem: str
    evidence: str
    change: str


def gentler(optimizer: OptimizerConfig) -> str:
    """Flags for smaller steps."""
    return (
        f"--loop.optimizer.learning-rate {optimizer.learning_rate / 10:g}, with --loop.optimizer.warmup "
        f"{max(0.1, min(2 * optimizer.warmup, 0.5)):g}"
    )
