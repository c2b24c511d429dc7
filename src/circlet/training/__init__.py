"""Training: `fit`, its optimiser, and the run folder that it writes and resumes from.

| file            | what it is                                                                        |
|-----------------|-----------------------------------------------------------------------------------|
| loop            | `fit`: step after step, saved often enough that nothing is lost                   |
| batches         | the batches of the steps: epochs of one's own, or passes over a DataLoader        |
| step            | one step: augment, forward, loss, backward, clip, update                          |
| state           | what a step changes and a checkpoint holds; saving, restoring, checking           |
| logbook         | metrics.jsonl, progress, validation, and which checkpoint is best                 |
| config          | settings of the loop                                                              |
| ending          | when a run ends: steps, time, or validation that gets no better                   |
| optimizer       | optimiser, parameter groups and learning-rate schedule, with their settings       |
| freezing        | what of a model is trained, and when                                              |
| averaging       | the moving average of the weights                                                 |
| objective       | a loss with the references of its level: batch, class weights, memory             |
| gradient_cache  | the gradient of a large batch in the memory of a small one                        |
| recompute       | activation checkpointing: what is within a block is computed again                |
| fsdp            | a network spread over the ranks, each block whole only while it computes          |
| blocks          | which modules are the blocks of a network                                         |
| precision       | the dtype of autocast                                                             |
| compiling       | torch.compile of the network, where it can be and pays                            |
| waiting         | how long the training waits for its batches, and what to change                   |
| clip            | gradient clipping of plain and sharded parameters together                        |
| stop            | Ctrl-C and SIGTERM at the end of a step                                           |
| run_folder      | the files that a run leaves behind                                                |
| contents        | what its JSON files must hold                                                     |
| checkpoint      | reading a checkpoint, checked, and its weights into a model                       |
| optimizer_state | what it holds of optimiser, schedule and gradient scaler, checked and loaded      |
| own_parts       | the optimiser's step on this rank's parts of sharded parameters                   |
| shards          | tensors sharded over ranks to the full ones of a checkpoint, and back             |
"""

from circlet.environment import environment
from circlet.training.averaging import model_weights
from circlet.training.batches import Batches
from circlet.training.checkpoint import load, load_module
from circlet.training.config import LoopConfig
from circlet.training.loop import fit
from circlet.training.objective import Objective
from circlet.training.optimizer import OptimizerConfig
from circlet.training.run_folder import RunFolder
from circlet.training.step import Observer

__all__ = [
    "Batches",
    "LoopConfig",
    "Objective",
    "Observer",
    "OptimizerConfig",
    "RunFolder",
    "environment",
    "fit",
    "load",
    "load_module",
    "model_weights",
]
