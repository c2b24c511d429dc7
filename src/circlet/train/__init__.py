"""Training: the loop, its optimiser, the run folder it writes and resumes from."""

from circlet.train.batches import Batches
from circlet.train.checkpoint import load, load_module
from circlet.train.config import LoopConfig
from circlet.train.loop import fit
from circlet.train.objective import Level, Objective
from circlet.train.optimizer import OptimizerConfig
from circlet.train.run_folder import RunFolder, environment
from circlet.train.step import Observer

__all__ = [
    "Batches",
    "Level",
    "LoopConfig",
    "Objective",
    "Observer",
    "OptimizerConfig",
    "RunFolder",
    "environment",
    "fit",
    "load",
    "load_module",
]
