"""Checkpoints: everything that the next step depends on, as plain tensors and numbers.

Model, class weights, memory bank, optimiser, schedule and gradient scaler are here, and the position in the data.
Random numbers need no state: those of each step are a function of (seed, step, rank), and the batches of (seed,
epoch). Tensors are in full, on however many ranks the run was (see `shards`).

A checkpoint is read only once its whole content has been compared with its checksums (`circlet.checksums`): what a disk
or a copy has damaged is named, and no step is taken with it. It may come from somebody else, so what is in it is
checked too, and none of it is run.
"""

import warnings
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from circlet.checksums import check_zip
from circlet.distributed import is_rank_0
from circlet.training.ending import EndingState
from circlet.training.shards import own_shard
from circlet.typed import shown, typed


class Checkpoint(TypedDict):
    """What a run goes on from.

    averaged: where an average of the weights is made. ending, waiting, compiled: not in earlier versions.
    """

    model: dict[str, Any]
    averaged: NotRequired[dict[str, Any]]
    objective: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    step: int
    best: float
    seconds: float
    losses: list[Tensor]
    ending: NotRequired[EndingState]
    waiting: NotRequired[dict[str, float]]
    compiled: NotRequired[bool | None]


class _Weights(TypedDict):
    """What a model is loaded from."""

    model: dict[str, Any]
    averaged: NotRequired[dict[str, Any]]


def load(path: Path, *, mapped: bool = False, to_go_on: bool = False) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code in it (weights_only).

    mapped: map the file into memory, so that a rank that needs one shard of a tensor reads that alone; then rank 0
    checks the content for all. to_go_on: expect all that a training goes on from, not the model alone.

    FileNotFoundError if it is not there; ValueError, which names it, for one that is damaged (and says what to do), no
    checkpoint, or lacks a key.
    """
    if not path.is_file():
        if path.exists():
            raise ValueError(f"{path}: found no regular file, expected a checkpoint that circlet train has written")
        raise FileNotFoundError(f"{path}: no such checkpoint; expected one that circlet train has written")
    if not mapped or is_rank_0():
        _check_content(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns of pickles that it has not written
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except OSError as error:
        raise OSError(f"{path}: could not be read ({error})") from error
    except Exception as error:  # what is whole, but was not written by us, may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: found no readable checkpoint ({reason})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: found no circlet checkpoint, expected one that circlet train has written")
    try:
        found: dict[str, Any] = typed(Checkpoint if to_go_on else _Weights, state, "")
        for number, loss in enumerate(found["losses"] if to_go_on else ()):
            if loss.ndim:
                raise ValueError(f"losses[{number}]: found a tensor {tuple(loss.shape)}, expected a number")
    except ValueError as error:
        what = "to go on from" if to_go_on else "of circlet"
        raise ValueError(f"{path}: {error}, as in a checkpoint {what}") from error
    return found


def _check_content(path: Path) -> None:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    try:
        check_zip(path)
    except ValueError as error:
        if not is_zip:
            raise ValueError(f"{path}: found no readable checkpoint ({error}); {_instead(path)}") from error
        raise ValueError(f"{path}: found no readable checkpoint, it is damaged ({error}); {_instead(path)}") from error


def _instead(path: Path) -> str:
    """What to do without a checkpoint."""
    best, last = path.with_name("best.pt"), path.with_name("last.pt")
    if path.name == "last.pt":
        other = "copy best.pt over it, to go on from there" if best.is_file() else "remove it, to train from the start"
        return f"put a copy of it back, or {other}"
    if path.name == "best.pt" and last.is_file():
        return f"put a copy of it back, or use the last one (circlet evaluate --checkpoint {last})"
    return "put a copy of it back"


def load_module(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load `state`, of full tensors, into `module`; a ValueError that says how the architectures differ if they do."""
    own = module.state_dict()
    check_fits(own, state, path, type(module).__name__.removeprefix("FSDP"))
    tensors = {name: own_shard(value, own[name]) for name, value in state.items() if isinstance(value, Tensor)}
    module.load_state_dict({**state, **tensors})


def check_fits(own: dict[str, Any], state: dict[str, Any], path: Path, what: str) -> None:
    """A ValueError that says how `state`, of full tensors by name, differs from `own`, those of `what`, if it does."""
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    tensors = sorted(name for name in own.keys() & state.keys() if isinstance(own[name], Tensor))
    others = [f"{name} is {shown(state[name])}" for name in tensors if not is_plain(state[name], own[name])]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in tensors
        if isinstance(state[name], Tensor) and state[name].shape != own[name].shape
    ]
    differences = [
        f"{len(names)} {kind}, such as {names[0]}"
        for kind, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("of another shape", shapes),
            ("of another kind", others),
        )
        if names
    ]
    if differences:
        raise ValueError(f"{path}: holds another architecture than {what}: parameters {'; '.join(differences)}")


def is_plain(value: Any, own: Tensor) -> bool:
    """Whether it is a tensor of numbers that can be copied into `own`."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    return value.is_complex() == own.is_complex() and value.is_floating_point() == own.is_floating_point()
