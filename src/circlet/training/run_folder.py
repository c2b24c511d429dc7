"""The run folder: what a run leaves behind, written so that a kill or a full disk loses nothing.

    config.json        the resolved configuration
    environment.json   versions, hardware, command
    search.json        of a run of a search alone: the share of the training classes that it was tested on
    resumed.json       of a run that went on with other settings: what changed, and after which step
    splits.json        names of its classes and images, by role (circlet.experiments.remembered)
    data.json          how many training classes and images were loaded
    metrics.jsonl      one line for each logged step and each evaluation
    pairs.jsonl        the hardest pairs of single anchors at the logged steps (circlet.analyse.trace)
    stages.json        of a run from a pretrained network: what each stage gave on validation classes
    thresholds.json    similarities from which on to accept, chosen on validation classes (circlet.evaluate.thresholds)
    model.pt           its result; last.pt and best.pt are then those of the training of the network itself
    last.pt, best.pt   checkpoints (plain tensors and numbers: torch.load(weights_only=True))
    result.json        final metrics
    diverged.json      in place of result.json where the training diverged: the reason
    evaluation.json    metrics of the last circlet evaluate of the run itself, and its settings

A number that is not finite is written as null, for JSON has no NaN; read from metrics.jsonl it is left out, as if not
measured, and from result.json it is NaN.

Every file is written beside its place and then moved into it; only the .jsonl files grow in place, line by line, and
are cut back to the checkpoint on resume.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from circlet.distributed import on_rank_0
from circlet.environment import environment
from circlet.files import (
    nan_for_null,
    null_for_nan,
    read_json,
    read_log,
    write_atomically,
    write_json,
    write_text,
)
from circlet.leftovers import remove_leftovers
from circlet.locks import LOCK_FILES, locked
from circlet.training.contents import CONTENTS

SEARCH, DIVERGED = "search.json", "diverged.json"


class RunFolder:
    """One run's files. `create` makes a new folder, `open` takes an existing one to resume or to read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: dict[str, Any], *, validation_share: float = 0.0) -> "RunFolder":
        """Make the folder and write what is known before the first step. FileExistsError if it holds anything.

        Of two that make the same folder at once, one gets it and the other an error (FileExistsError or FolderInUse).
        Leftovers of a start that was cut off before it had written config.json are overwritten. validation_share:
        the share of the training classes on which a run of a search is tested in place of the test classes; 0: this
        is no run of a search.
        """
        _refuse_what_is_there(path)  # before a lock is put beside somebody's files
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        with locked(path):
            _refuse_what_is_there(path)  # once more: another start may have come first
            folder.write_json("environment.json", environment())
            if validation_share:
                folder.write_json(SEARCH, {"validation_share": validation_share})
            folder.write_json("config.json", config)  # last: a folder with it is one that can be resumed
        return folder

    @classmethod
    def open(cls, path: Path, *, of_search: bool = False) -> "RunFolder":
        """Take the folder of an earlier run. FileNotFoundError if it is none.

        of_search: take a run of a search too, else ValueError. Its configuration does not tell that its test was on
        some of the training classes, so to test it or to go on with it as any other run would mix up what it has seen.
        """
        if not (path / "config.json").is_file():
            found = "no such folder" if not path.is_dir() else "no config.json in it"
            raise FileNotFoundError(f"{path}: {found}; expected the run folder of an earlier circlet train")
        folder = cls(path)
        if not of_search and (path / SEARCH).exists():
            share = folder.read_json(SEARCH)["validation_share"]
            raise ValueError(f"{path}: found a run of the search of circlet compare, tested on {share:.0%} of its "
                             "training classes; expected another run, such as those in runs/ beside it")  # fmt: skip
        return folder

    @contextmanager
    def locked(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Within it no other process writes a run here; FolderInUse if one does (after `wait_s` seconds, still).

        What a killed run left half written is removed then.

        Over several ranks rank 0 holds the lock, and all call this together. Arguments as in `circlet.locks.locked`.
        """
        with ExitStack() as held:

            def take() -> None:
                held.enter_context(locked(self.path, wait_s=wait_s))
                remove_leftovers(self.path)

            on_rank_0(take)
            yield

    @property
    def last(self) -> Path:
        """Checkpoint of the latest saved step."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """Checkpoint with the best validation metric; absent where no classes were held out for validation."""
        return self.path / "best.pt"

    @property
    def model(self) -> Path:
        """The result of a run in stages (`circlet.transfer`)."""
        return self.path / "model.pt"

    @property
    def chosen(self) -> Path:
        """The run's result: that of its stages, else its best checkpoint, else its last; the first that there is."""
        return next((path for path in (self.model, self.best) if path.exists()), self.last)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the folder's JSON files; a ValueError that names file and key if it does not hold what it must.

        See `circlet.training.contents`.
        """
        return read_json(self.path / name, CONTENTS.get(name, dict[str, Any]))

    def read_result(self, *needed: str) -> dict[str, Any]:
        """result.json, with NaN for what was not finite. needed: keys beside "test" that must be there."""
        found: dict[str, Any] = nan_for_null(self.read_json("result.json"))
        for key in needed:
            if key not in found:
                raise ValueError(f"{self.path / 'result.json'}: {key}: found no such key, expected one")
        return found

    @property
    def diverged(self) -> str | None:
        """Why the run ended without a result; None where it did not."""
        if not (self.path / DIVERGED).exists():
            return None
        reason: str = self.read_json(DIVERGED)["reason"]
        return reason

    def begin(self, data: dict[str, int]) -> None:
        """Write how much data was loaded, and drop the note of an earlier divergence: the run begins or goes on."""
        self.write_json("data.json", data)
        (self.path / DIVERGED).unlink(missing_ok=True)

    def end_without_result(self, reason: str) -> None:
        """Note that the run has diverged."""
        self.write_json(DIVERGED, {"reason": reason})

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write one of the folder's JSON files, atomically."""
        write_json(self.path / name, content)

    def save(self, path: Path, state: dict[str, Any]) -> None:
        """Write a checkpoint, atomically."""
        write_atomically(path, lambda file: torch.save(state, file))

    @contextmanager
    def metrics(self, from_step: int) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Open metrics.jsonl for appending after `from_step`; later lines, of a run cut off, are dropped."""
        path = self.path / "metrics.jsonl"
        kept = [line for line in self.read_metrics() if line["step"] <= from_step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        with open(path, "a", encoding="utf-8", buffering=1) as file:
            yield lambda line: print(json.dumps(null_for_nan(line), allow_nan=False), file=file)

    def write_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Write metrics.jsonl anew."""
        text = (json.dumps(null_for_nan(line), allow_nan=False) for line in lines)
        write_text(self.path / "metrics.jsonl", "".join(f"{line}\n" for line in text))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete lines of metrics.jsonl, without the numbers that were not finite."""
        return read_log(self.path / "metrics.jsonl")


def _refuse_what_is_there(path: Path) -> None:
    if path.exists() and not (path.is_dir() and all(map(_of_a_start, path.iterdir()))):
        raise FileExistsError(
            f"{path}: exists and is not an empty folder; expected a new run folder (to go on with the run in it: "
            f"circlet train --resume {path})"
        )


def _of_a_start(path: Path) -> bool:
    return path.name in ("environment.json", SEARCH, *LOCK_FILES) or path.name.endswith(".part")
