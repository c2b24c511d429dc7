"""The training loop: one optimiser step after another, saved often enough that nothing is lost.

The random numbers of a step (augmentation, dropout) are a function of (seed, step, rank), and its batch of (seed,
epoch, place in the epoch). So a run that is killed at any moment and resumed ends like one that was not, on a CPU bit
for bit (but for one whose time is limited: its learning rate follows the clock). The loop knows nothing of images, data
sets or metrics: it is handed batches, an augmentation and a validation.

In a process group of several ranks (see `circlet.distributed`) each handles its part of the global batch; loss and
gradients are those of one process with the whole of it, and a run may go on with another number of ranks. Two things do
depend on the ranks: random numbers, and batch norm. On GPUs its statistics are over all ranks (SyncBatchNorm), in
running averages too; on CPUs each rank takes those of its own part, as a gradient cache takes those of a chunk, and the
running averages are rank 0's. Only rank 0 writes, shows progress and validates.

Memory: `grad_checkpointing` keeps fewer activations, `chunk` those of fewer images, and `fsdp` spreads the network.
Each goes with the others.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from circlet.distributed import any_rank, is_rank_0, on_all_ranks, on_rank_0, require_agreement
from circlet.terminal import say
from circlet.training.batches import Batches, as_batches, batches_from
from circlet.training.config import LoopConfig
from circlet.training.logbook import Validate, logbook
from circlet.training.run_folder import RunFolder
from circlet.training.state import TrainingState
from circlet.training.step import Augment, Observer, Step
from circlet.training.stop import stop_requests
from circlet.training.trackers import Tracker

_LOOK_LEAST, _LOOK_MOST = 20, 500  # steps between two looks at how long was waited for batches; an epoch within these


def fit(
    model: nn.Module,
    objective: nn.Module,
    batches: Batches | Iterable[Any],
    config: LoopConfig,
    folder: RunFolder | Path | str,
    *,
    device: torch.device | str | None = None,
    augment: Augment | None = None,
    validate: Validate | None = None,
    observe: Observer | None = None,
    trackers: Sequence[Tracker] = (),
) -> float:
    """Train `model` and `objective` in place, going on from the folder's last checkpoint if there is one.

    >>> import tempfile, circlet
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> points, labels = torch.randn(64, 12), torch.arange(64) % 8
    >>> sampler = circlet.sampling.PKSampler(labels, num_classes_per_batch=4, samples_per_class=4)
    >>> loader = DataLoader(TensorDataset(points, labels), batch_sampler=sampler)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     seconds = fit(nn.Linear(12, 4), circlet.CircleLoss(), loader, LoopConfig(steps=8), folder)
    ...     [line["step"] for line in RunFolder(Path(folder)).read_metrics()]
    [8]

    Gives the seconds spent in steps, those before an interruption included.

    model: images (batch, ...) to embeddings (batch, dim). If it has an attribute `backbone`, that part has the
        learning rate and freezing that `config.optimizer` asks for it.
    objective: called with embeddings (batch, dim) and labels (batch,), gives a scalar; its parameters, if any, are
        trained too. A loss such as `circlet.CircleLoss()`, a module of your own, or an `Objective`, which brings
        class weights and a memory bank, and is what several ranks need.
    batches: a DataLoader or another iterable of (images, labels) with a length, one pass of which is an epoch, or
        `Batches`. A run resumed in the middle of an epoch skips forward to its place; see `as_batches`.
    config: how many steps, how often to log, validate and save, when to stop before, and the optimiser. Where it asks
        for an average of the weights, that is what is validated and what the model has at the end.
    folder: where metrics.jsonl and the checkpoints last.pt and best.pt are written; a path is made if it is not
        there, and taken up where it is a run folder.
    device: where to train; None: where the model's parameters are.
    augment: changes images and labels of a batch on the device; None: as they come.
    validate: metrics of the model on validation classes; the first of them, where higher is better, chooses the
        best checkpoint. Called on rank 0.
    observe: called without gradients after the backward pass of each step that writes a line of metrics.jsonl, with
        this rank's embeddings; what it finds on rank 0 joins the line. Over several ranks it is called on all of
        them, so that it may compute the loss again. Its time counts as that of the step.
    trackers: each is called with every line of metrics.jsonl, on rank 0; see `circlet.training.trackers`.

    Parameters that require no gradient are not trained; which of them do is at the end as it was before. Over several
    ranks the model is at the end the same on all. Under `fsdp` that is trained in a copy which is spread over them: the
    model has no weights meanwhile but in `validate`, and NaN where the training fails; it goes on from the folder.

    Raises ValueError: batches that cannot be iterated over again, a checkpoint of another model or optimiser, more
    blocks to train than there are, patience without a validation, or ranks that differ in `config`, in `objective` (as
    its repr tells) or in the number of batches.
    Raises FloatingPointError: loss, embeddings or weights stopped being finite.
    Raises KeyboardInterrupt: the process was asked to stop (SIGINT or SIGTERM); the checkpoint is written.
    Raises OSError: a checkpoint could not be written, or another process writes into the folder (FolderInUse).
    """
    device = _device_of(model) if device is None else torch.device(device)
    batches = as_batches(batches, config.seed)
    if config.patience and validate is None:
        raise ValueError(f"patience: found {config.patience} without a validation, expected 0, or validation classes")
    require_agreement(lambda: _alike(objective, batches, config))
    folder = _run_folder(folder, config)
    state = TrainingState(model, objective, config, device, folder)
    if state.sharded is not None and is_rank_0():
        say(state.sharded.told())
    try:
        with folder.locked():
            if on_rank_0(folder.last.exists):
                on_all_ranks(state.restore)
            _train(state, Step(state, config, augment=augment, observe=observe), batches, validate, trackers)
    finally:
        state.release()
    state.end()
    return state.seconds


def _train(
    state: TrainingState, take_step: Step, batches: Batches, validate: Validate | None, trackers: Sequence[Tracker]
) -> None:
    config, folder = state.config, state.folder
    with logbook(state, config, validate, trackers) as book, stop_requests() as stop:
        state.ending.start()
        look_every = min(max(len(batches), _LOOK_LEAST), _LOOK_MOST)
        remaining = batches_from(batches, state.step, state.ending.last_step)
        for images, labels in state.waiting.timed(remaining):
            book.note(take_step(images, labels))
            if state.step % look_every == 0:
                book.note_waiting(batches)
            stopping = any_rank(stop.requested)
            if stopping or state.is_due(config.checkpoint_every):
                state.save(folder.last)
            if stopping and not state.is_over:
                raise KeyboardInterrupt(f"stopped at step {state.step}; go on with: circlet train --resume "
                                        f"{folder.path} (a run of circlet.fit: the same call again)")  # fmt: skip
            book.advance()
            if state.is_over:
                break


def _alike(objective: nn.Module, batches: Batches, config: LoopConfig) -> dict[str, Any]:
    """What ranks must have alike to train together; trackers are rank 0's."""
    told = re.sub(r"0x[0-9a-f]+|(?<=cuda:)\d+", "0", repr(objective))  # no address, and no rank's GPU, is a setting
    return {"config": {**asdict(config), "trackers": None}, "batches in an epoch": len(batches), "objective": told}


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _run_folder(folder: RunFolder | Path | str, config: LoopConfig) -> RunFolder:
    if isinstance(folder, RunFolder):
        return folder
    path = Path(folder)
    content = {"loop": asdict(config)}
    exists = (path / "config.json").is_file
    return on_rank_0(lambda: RunFolder.open(path) if exists() else RunFolder.create(path, content))
