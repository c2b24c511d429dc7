"""Changed settings of a run that goes on: those that leave its past as it was; any other is refused by name.

How long it trains may change, where its images lie, and how the work is done. resumed.json in the run folder notes
what was changed, after which step; config.json has the settings as they are now.

The learning rate goes on as in a run that had been of the new length from the start: where it is longer, the rate rises
from what the end of the shorter run had brought it down to (`circlet.training.state`). Whether other images lie under a
new root is not looked at here.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypedDict

from circlet.experiments.experiment import Experiment
from circlet.experiments.leaves import PLACES, leaves
from circlet.experiments.loss import with_defaults
from circlet.files import read_json
from circlet.training import RunFolder, load

NOTE = "resumed.json"
LENGTH = ("loop.steps", "loop.seconds", "loop.patience", "transfer.minutes", "transfer.stages")
MAY_CHANGE = frozenset(
    {
        *LENGTH,
        *PLACES,
        *(f"loop.{name}" for name in ("log_every", "checkpoint_every", "validate_every")),
        *(f"loop.{name}" for name in ("fsdp", "grad_checkpointing", "compile")),
    }
)
# What a run leaves at its end, the result first: that of another length is not its own.
_OF_THE_END = ("result.json", "evaluation.json", "stages.json", "thresholds.json", "model.pt")


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
        if not _may_change(setting, change, before):
            raise ValueError(f"{setting}: found {change.after!r} for a run that began with {change.before!r}, expected "
                             f"what it began with: {_why(setting)}; steps, minutes, root, data.workers and what else "
                             "circlet train --resume RUN --help lists may change")  # fmt: skip
    if "loop.steps" in found and after.transfer.minutes is not None and "transfer.minutes" not in found:
        raise ValueError(f"loop.steps: found {after.loop.steps} for a run that ends by its time, expected --minutes "
                         f"above {after.transfer.minutes:g}, or --minutes None beside it")  # fmt: skip
    return found


def keep_changes(folder: RunFolder, found: Mapping[str, Change], experiment: Experiment) -> None:
    """Note the changes in the folder and let its checkpoint follow them; `experiment` has the settings as they are now.

    A run of another length has no result until it has reached it. To be called by one process, which holds the lock of
    the folder. ValueError, with everything left as it was, for fewer steps than the run has taken, and for more where
    something else has ended it.
    """
    if not found:
        return
    there = folder.last.exists()
    state = load(folder.last, to_go_on=True) if there else {"step": 0}
    goes_on = there and _goes_on(state, found, experiment)
    path = folder.path / NOTE
    notes = read_json(path, Notes)["resumed"] if path.exists() else []
    note = {"step": state["step"], "changed": {name: list(change) for name, change in found.items()}}
    if note not in notes[-1:]:  # a start that was cut off has left it
        folder.write_json(NOTE, {"resumed": [*notes, note]})
    if set(LENGTH) & found.keys():
        for name in _OF_THE_END:
            (folder.path / name).unlink(missing_ok=True)
    if goes_on:
        folder.save(folder.last, state)
    folder.write_json("config.json", experiment.to_json())  # last: until then all is as before


def _goes_on(state: dict[str, Any], found: Mapping[str, Change], experiment: Experiment) -> bool:
    """Whether a checkpoint of a run that had ended before its steps were over is now of one that goes on."""
    if not set(LENGTH) & found.keys():
        return False
    step, loop = state["step"], experiment.loop
    if loop.steps < step and experiment.transfer.minutes is None:
        raise ValueError(f"loop.steps: found {loop.steps}, expected at least {step}, the steps that the run has taken")
    ending = state.get("ending", {})
    reason = ending.get("reason")
    if not reason:
        return False
    time = "transfer.minutes" if experiment.transfer.stages else "loop.seconds"
    setting = {"seconds": time, "patience": "loop.patience"}[reason]
    if setting in found:
        ending["reason"] = None
        return True
    if "loop.steps" in found:
        raise ValueError(f"loop.steps: found {loop.steps} for a run that its {reason} ended after {step} steps, "
                         f"expected --{setting.replace('_', '-')} beside it")  # fmt: skip
    return False


def _differences(before: Experiment, after: Experiment) -> dict[str, Change]:
    first, second = (
        {"recipe": each.recipe, **leaves(replace(each, loss=with_defaults(each.loss)).to_json())}
        for each in (before, after)
    )
    names = dict.fromkeys([*first, *second])
    return {name: Change(first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


def may_change(experiment: Experiment) -> frozenset[str]:
    """The settings of which a run that goes on may be given others."""
    return MAY_CHANGE - {"model.weights"} if experiment.transfer.stages else MAY_CHANGE  # stages begin from them again


def _may_change(setting: str, change: Change, experiment: Experiment) -> bool:
    if setting == "transfer.stages":  # the network is now trained after those that there were
        return bool(change.before) and change.after == [*change.before, "network"]
    if setting == "model.weights":  # moved: there are no more and no fewer of them
        return not experiment.transfer.stages and None not in change
    return setting in MAY_CHANGE


def _why(setting: str) -> str:
    if setting.startswith("test."):
        return "the best checkpoint may be chosen by it (circlet evaluate RUN takes it too)"
    return "what was learnt so far comes from it"
