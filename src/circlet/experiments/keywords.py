"""Settings of an experiment as keywords, as Python users give them.

    changed(experiment, root="photos", minutes=20, loss=circlet.TripletLoss(margin=0.2), batch__classes=8)

A keyword is a part (`loop=LoopConfig(...)`), a setting of a part (`loop__steps=500`, as in scikit-learn), or one of the
short names that the command line has too. Losses, data sets, backbones, transforms and trackers may be objects; a run
remembers them by the module that defines them.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from circlet.experiments.experiment import Experiment, at_level, with_network
from circlet.experiments.loss import LossConfig
from circlet.extensions import import_path
from circlet.losses import PairLoss

# Short names, as on the command line, and the objects that may stand for a name.
SHORT = {"root": "data__root", "images": "data__images", "steps": "loop__steps", "seed": "loop__seed",
         "backbone": "model__backbone", "source": "data__source", "transform": "augment__transform",
         "trackers": "loop__trackers", "minutes": "transfer__minutes"}  # fmt: skip
NAMED = ("model__backbone", "data__source", "augment__transform")


def changed(experiment: Experiment, **settings: Any) -> Experiment:
    """The experiment with other settings. TypeError for a keyword that is no setting, ValueError for a bad value.

    loss: a loss, at the level that it is made for, the name of one, or a `LossConfig`. root, images: paths or strings.
    """
    if "loss" in settings:
        experiment = _with_loss(experiment, settings.pop("loss"))
    parts: dict[str, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    for keyword, value in settings.items():
        section, _, name = SHORT.get(keyword, keyword).partition("__")
        if section not in {each.name for each in fields(Experiment)}:
            raise TypeError(
                f"{keyword}: found no such setting, expected one of {', '.join(_known())}, or SECTION__NAME"
            )
        if name:
            parts.setdefault(section, {})[name] = _plain(f"{section}__{name}", value)
        else:
            whole[section] = value
    if "steps" in parts.get("loop", {}):
        whole["transfer"] = with_network(whole.get("transfer", experiment.transfer))
    for section, values in parts.items():
        whole[section] = _part(whole.get(section, getattr(experiment, section)), section, values)
    return replace(experiment, **whole)  # at once: what is checked together may be changed together


def _with_loss(experiment: Experiment, loss: PairLoss | LossConfig | str) -> Experiment:
    config = LossConfig(loss) if isinstance(loss, str) else loss
    if isinstance(loss, PairLoss):
        config = LossConfig.of(loss)
    if not isinstance(config, LossConfig):
        raise ValueError(f"loss: found {type(loss).__name__}, expected a circlet.PairLoss, a name or a LossConfig")
    return replace(at_level(experiment, config.level), loss=config)


def _part(part: Any, section: str, values: dict[str, Any]) -> Any:
    if section == "loss":
        numbers = {name: float(value) for name, value in values.items() if name not in _fields(part)}
        rest = {name: value for name, value in values.items() if name in _fields(part)}
        return replace(part, **rest).with_numbers({**part.numbers, **numbers})
    unknown = [name for name in values if name not in _fields(part)]
    if unknown:
        raise TypeError(f"{section}__{unknown[0]}: found no such setting, expected one of {', '.join(_fields(part))}")
    return replace(part, **values)


def _plain(name: str, value: Any) -> Any:
    """A value as the dataclasses hold it."""
    if name in NAMED and value is not None and not isinstance(value, str):
        return import_path(value)
    if name == "loop__trackers":
        return tuple(each if isinstance(each, str) else import_path(each) for each in value)
    if name in ("data__root", "data__images", "model__weights") and isinstance(value, str):
        return Path(value)
    return value


def _fields(part: Any) -> list[str]:
    return [each.name for each in fields(part)]


def _known() -> list[str]:
    return [*SHORT, *_fields(Experiment())]
