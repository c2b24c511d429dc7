"""Flags of an experiment: those of its dataclasses, and those that the chosen loss declares.

Which flags there are depends on the loss, so its name is looked for among the arguments first. tyro is then given the
same dataclasses with the loss's numbers as fields.
"""

from collections.abc import Collection, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass, replace
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from circlet.experiments import Experiment, LossConfig, with_defaults
from circlet.experiments.experiment import at_level, with_network
from circlet.losses import find_loss
from circlet.losses.catalogue import EXTENSIONS

T = TypeVar("T")


def parse(
    kind: type[T],
    arguments: Sequence[str],
    experiment: Experiment,
    *,
    prog: str,
    description: str,
    listed: Collection[str] | None = None,
    **values: Any,
) -> T:
    """Arguments as `kind`, a dataclass with a field `experiment`, whose flags change `experiment`.

    With `--loss.name` of another loss its own numbers and level are the defaults, not those of the experiment's loss.
    listed: settings such as "loop.steps" to which --help keeps; None: it has all. values: of the fields of `kind`
    without a default.
    """
    base = _with_named_loss(experiment, arguments)
    if any(_value_of(flag, arguments) is not None for flag in ("--steps", "--loop.steps")):
        base = replace(base, transfer=with_network(base.transfer))
    _refuse_unknown(base.loss, arguments)
    loss = _loss_flags(base.loss)
    flags = _subclass(Experiment, ("loss", type(loss), field(default=loss)))
    whole = flags(**{**_values(base, Experiment), "loss": loss})
    if listed is not None and {"-h", "--help"} & set(arguments):
        whole = _without_others(whole, listed)
        flags = type(whole)
    given = _subclass(kind, ("experiment", Annotated[flags, tyro.conf.arg(name="")]))
    found: Any = tyro.cli(given, args=list(arguments), prog=prog, description=description,
                          default=given(whole, **values))  # fmt: skip
    return kind(**{**_values(found, kind), "experiment": _experiment(found.experiment)})


def _with_named_loss(experiment: Experiment, arguments: Sequence[str]) -> Experiment:
    name = _value_of("--loss.name", arguments)
    if name is None or name == experiment.loss.name:
        return replace(experiment, loss=with_defaults(experiment.loss))
    loss = find_loss(name)
    level: Any = _value_of("--loss.level", arguments) or loss.level
    stated, _ = loss.paper_settings.get(level, ({}, ""))
    others = {key: getattr(experiment.loss, key) for key in ("memory", "sample", "centers")}
    config = with_defaults(LossConfig(name, level, tuple(stated.items()), **others))
    return replace(at_level(experiment, level), loss=config)


def _refuse_unknown(loss: LossConfig, arguments: Sequence[str]) -> None:
    """ValueError for a flag of a number that the loss does not have."""
    declared = find_loss(loss.name).declared
    known = {*declared, *(each.name for each in fields(LossConfig))}
    for argument in arguments:
        name = argument.partition("=")[0].removeprefix("--loss.").replace("-", "_")
        if argument.startswith("--loss.") and name not in known:
            raise ValueError(f"loss.{name}: found with {loss.name}, which has "
                             f"{', '.join(declared) or 'no settings'}")  # fmt: skip


def _value_of(flag: str, arguments: Sequence[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
    return None


def _loss_flags(loss: LossConfig) -> LossConfig:
    """The same with its numbers as fields."""
    declared = find_loss(loss.name).declared
    known = ", ".join(EXTENSIONS.names())
    name_help = f"A loss: {known}; or package.module:Class"
    numbers = [
        (name, Annotated[float, tyro.conf.arg(help=f"{parameter.text or loss.name}: {parameter.expected()}")],
         field(default=loss.numbers[name]))
        for name, parameter in declared.items()
    ]  # fmt: skip
    named = ("name", Annotated[str, tyro.conf.arg(help=name_help, metavar="LOSS")], field(default=loss.name))
    kind: Any = make_dataclass("LossFlags", [named, *numbers], bases=(LossConfig,), frozen=True)
    flags: LossConfig = kind(**_values(loss, LossConfig))
    return flags


def _subclass(base: type, changed: Any) -> Any:
    """The dataclass `base` with another annotation of a field."""
    kind: Any = make_dataclass(base.__name__, [changed], bases=(base,), frozen=True)
    kind.__doc__ = base.__doc__
    return kind


def _without_others(part: Any, listed: Collection[str], prefix: str = "") -> Any:
    """The same settings, of which tyro makes no flags but for those that are listed."""
    hints = get_type_hints(type(part), include_extras=True)
    for each in fields(part):
        name, value = prefix + each.name, getattr(part, each.name)
        if name in listed:
            continue
        if is_dataclass(value) and any(other.startswith(f"{name}.") for other in listed):
            value = _without_others(value, listed, f"{name}.")
            kind: Any = type(value)
        else:
            kind = Annotated[hints[each.name], tyro.conf.Suppress]
        changed = _subclass(type(part), (each.name, kind, field(default=value)))
        part = changed(**{**_values(part, type(part)), each.name: value})
    return part


def _experiment(flags: Any) -> Experiment:
    names = find_loss(flags.loss.name).declared
    settings = tuple((name, float(getattr(flags.loss, name))) for name in names)
    loss = LossConfig(**{**_values(flags.loss, LossConfig), "settings": settings})
    return Experiment(**{**_values(flags, Experiment), "loss": loss})


def _values(instance: Any, kind: type) -> dict[str, Any]:
    return {each.name: getattr(instance, each.name) for each in fields(kind)}
