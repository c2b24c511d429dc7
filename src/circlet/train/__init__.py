"""Training: the loop, its optimiser, the run folder it writes and resumes from."""

from circlet.train.checkpoint import load, load_module
from circlet.train.loop import Batches, LoopConfig, fit
from circlet.train.objective import Level, Objective
from circlet.train.optimizer import OptimizerConfig
from circlet.train.progress import progress
from circlet.train.run_folder import RunFolder, environment, write_atomically

__all__ = [
    "Batches",
    "Level",
    "LoopConfig",
    "Objective",
    "OptimizerConfig",
    "RunFolder",
    "environment",
    "fit",
    "load",
    "load_module",
    "progress",
    "write_atomically",
]
