"""Run folders: how they are named, found and opened, and what in them may be trusted.

A run folder may come from somebody else. Opening one imports nothing that its files name: names of circlet and of
installed packages' entry points are looked up, `package.module:name` is refused unless the caller gives it himself.
"""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from circlet.experiments.earlier import as_of_now
from circlet.experiments.experiment import Experiment
from circlet.training import RunFolder

RUNS = Path("runs")


def next_folder(name: str, parent: Path = RUNS) -> Path:
    """A new, empty folder `parent/name-1`, or with the first number that is not there yet: no other call gets it."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / f"{name}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def settings_digest(experiment: Experiment, *others: Any, length: int = 8) -> str:
    """Digest of all settings (and `others`, plain JSON values) to name a folder after: other settings, another one."""
    content = json.dumps([experiment.to_json(), *others], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:length]


# Of the names that settings may have, those that are needed to use a model again; to train on, all are.
TO_USE = ("data.source", "model.backbone")
# A network of the hub is made of a known architecture and plain numbers; to use a model, none of its files is fetched.
CACHED = "timm/hf-hub:"


def open_run(
    path: Path, trust: Collection[str] = (), *, needed: Collection[str] | None = None, of_search: bool = False
) -> tuple[RunFolder, Experiment]:
    """The folder of an earlier run and its experiment; arguments as in `experiment_of` and `RunFolder.open`."""
    folder = RunFolder.open(path, of_search=of_search)
    return folder, experiment_of(folder, trust, needed=needed)


def experiment_of(
    folder: RunFolder, trust: Collection[str] = (), *, needed: Collection[str] | None = None
) -> Experiment:
    """What was run, from the folder's config.json, to be built again.

    trust: the `package.module:name` that may be imported. needed: flags of the names that the caller is going to
    import (`Experiment.names`); None: all. ValueError for settings that this version does not know, and for a needed
    name that is not trusted; nothing is imported here.
    """
    experiment = settings_of(folder)
    for flag, value in experiment.names().items():
        harmless = needed is not None and value.startswith(CACHED)
        if (needed is None or flag in needed) and ":" in value and value not in trust and not harmless:
            raise ValueError(f"{folder.path / 'config.json'}: {flag} is {value!r}, found in a file that may be "
                             f"somebody else's; nothing was imported. If you trust it: --trust {value}")  # fmt: skip
    return experiment


def settings_of(folder: RunFolder, name: str = "config.json") -> Experiment:
    """The settings in config.json (or under "config" in another file), those of an earlier version in today's words.

    To be looked at: what is to be built again comes from `experiment_of`.
    """
    content = folder.read_json(name)
    try:
        return Experiment.from_json(as_of_now(content if name == "config.json" else content["config"]))
    except ValueError as error:
        raise ValueError(f"{folder.path / name}: {error}; unless it was changed or damaged, the version of circlet "
                         "that wrote it can read it") from error  # fmt: skip
