"""Changed settings of a run that goes on: those that leave its past as it was; any other is refused by name.

How long it trains may change, where its images lie, and how the work is done. resumed.json in the run folder notes
what was changed, after which step; config.json has the settings as they are now.

The learning rate goes on as in a run that had been of the new length from the start: where it is longer, the rate rises
from what the end of the shorter run had brought it down to. Whether other images lie under a new root is not looked at
here.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypedDict

from circlet.experiments.experiment import Experiment
from circlet.experiments.loss import with_defaults
from circlet.files import read_json
from circlet.training import RunFolder, load
from circlet.training.optimizer import factor

NOTE = "resumed.json"
LENGTH = ("loop.steps", "loop.seconds", "loop.patience", "transfer.minutes", "transfer.stages")
MAY_CHANGE = frozenset(
    {
        *LENGTH,
        *(f"data.{name}" for name in ("root", "images", "workers", "in_memory")),
        *(f"faces.{name}" for name in ("lfw", "cfp_fp", "agedb_30", "ytf", "ijbc", "megaface")),
        *(f"loop.{name}" for name in ("log_every", "checkpoint_every", "validate_every", "trackers")),
    }
)
_LENGTHENED_BY = {
    "seconds": ("transfer.minutes", "loop.seconds"),
    "patience": ("loop.patience",),
}  # by reason of an end


class Notes(TypedDict):
    """What resumed.json holds: of each change the step after which it was made, and [before, after] by setting."""

    resumed: list[dict[str, Any]]


class Change(NamedTuple):
    """A setting as it was and as it is now, as plain JSON values."""

    before: Any
    after: Any


def changes(before: Experiment, after: Experiment) -> dict[str, Change]:
    """What differs, by setting, such as "loop.steps".

    ValueError that names a setting which a run that goes on cannot change, and where --steps would not lengthen it.
    """
    found = _differences(before, after)
    for setting, change in found.items():
        if setting not in MAY_CHANGE or (setting == "transfer.stages" and not _network_joined(change)):
            raise ValueError(f"{setting}: found {change.after!r} for a run that began with {change.before!r}, expected "
                             f"what it began with: {_why(setting)}; steps, minutes, root, data.workers and what else "
                             "circlet train --resume RUN --help lists may change")  # fmt: skip
    if "loop.steps" in found and after.transfer.minutes is not None and "transfer.minutes" not in found:
        raise ValueError(f"loop.steps: found {after.loop.steps} for a run that ends by its time, expected --minutes "
                         f"above {after.transfer.minutes:g}, or --minutes None beside it")  # fmt: skip
    return found


def keep_changes(folder: RunFolder, found: Mapping[str, Change], experiment: Experiment) -> None:
    """Note the changes in the folder and let its checkpoint follow them; `experiment` has the settings as they are now.

    To be called by one process, which holds the lock of the folder. ValueError, with everything left as it was, for
    fewer steps than the run has taken, and for more where something else has ended it.
    """
    if not found:
        return
    there = folder.last.exists()
    state = load(folder.last, to_go_on=True) if there else {"step": 0}
    lengthened = _lengthened(state, found, experiment) if there else False
    path = folder.path / NOTE
    notes = read_json(path, Notes)["resumed"] if path.exists() else []
    note = {"step": state["step"], "changed": {name: list(change) for name, change in found.items()}}
    if note not in notes[-1:]:  # a start that was cut off has left it
        folder.write_json(NOTE, {"resumed": [*notes, note]})
    if lengthened:
        folder.save(folder.last, state)
    folder.write_json("config.json", experiment.to_json())  # last: until then all is as before


def _lengthened(state: dict[str, Any], found: Mapping[str, Change], experiment: Experiment) -> bool:
    """Whether a checkpoint follows its run to a new length: it has not ended, and its rate is that of such a run."""
    if not set(LENGTH) & found.keys():
        return False
    step, loop = state["step"], experiment.loop
    if loop.steps < step and experiment.transfer.minutes is None:
        raise ValueError(f"loop.steps: found {loop.steps}, expected at least {step}, the steps that the run has taken")
    ending = state.get("ending", {})
    reason = ending.get("reason")
    if reason and not set(_LENGTHENED_BY[reason]) & found.keys():
        if "loop.steps" in found:
            flags = " or ".join(_flag(setting) for setting in _LENGTHENED_BY[reason])
            raise ValueError(f"loop.steps: found {loop.steps} for a run that its {reason} ended after {step} steps, "
                             f"expected {flags} beside it")  # fmt: skip
        return False
    if reason:
        ending["reason"] = None
    rate = factor(loop.optimizer, step, loop.steps)
    for group, highest in zip(state["optimizer"]["param_groups"], state["schedule"]["base_lrs"], strict=True):
        group["lr"] = highest * rate
    return True


def _differences(before: Experiment, after: Experiment) -> dict[str, Change]:
    first, second = (_flat(replace(each, loss=with_defaults(each.loss)).to_json()) for each in (before, after))
    names = dict.fromkeys([*first, *second])
    return {name: Change(first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their whole names.

    >>> _flat({"loop": {"steps": 3}, "ks": [1, 2]})
    {'loop.steps': 3, 'ks': [1, 2]}
    """
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _network_joined(change: Change) -> bool:
    """Whether the network is now trained after the stages that there were."""
    return bool(change.before) and change.after == [*change.before, "network"]


def _why(setting: str) -> str:
    if setting.startswith("test."):
        return "the best checkpoint may be chosen by it (circlet evaluate RUN takes it too)"
    return "what was learnt so far comes from it"


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"
