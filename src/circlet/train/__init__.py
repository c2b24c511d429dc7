"""Training: the loop, its optimiser, the run folder it writes and resumes from."""

from circlet.train.checkpoint import load, load_module
from circlet.train.config import LoopConfig
from circlet.train.loop import Batches, Observer, fit
from circlet.train.objective import Objective
from circlet.train.optimizer import OptimizerConfig
from circlet.train.processes import alike, first_speaks, is_first, local_rank, on_first, process_group, together
from circlet.train.progress import progress
from circlet.train.run_folder import RunFolder, environment, write_atomically, write_json

__all__ = [
    "Batches",
    "LoopConfig",
    "Objective",
    "Observer",
    "OptimizerConfig",
    "RunFolder",
    "alike",
    "environment",
    "first_speaks",
    "fit",
    "is_first",
    "load",
    "load_module",
    "local_rank",
    "on_first",
    "process_group",
    "progress",
    "together",
    "write_atomically",
    "write_json",
]
