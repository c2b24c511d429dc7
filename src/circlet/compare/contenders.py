"""Contenders: a loss at a level with its settings, where these come from, and which others a search tries.

Without a search a loss has the settings of the Circle-loss paper for its level, or those that the library has by
default, which are those of its own paper. The recipe's settings are not used: they were tuned for one loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from circlet.experiments import Experiment, LossConfig, build_loss
from circlet.experiments.loss import parse_loss
from circlet.losses import HyperParameter, Level, find_loss

# What a search tries, as factors of (scales, margins); a loss without one of them skips what repeats itself. A
# temperature is divided by the factor of the scales.
FACTORS = (
    (1.0, 1.0),
    (1 / 4, 1.0),
    (1 / 16, 1.0),
    (1 / 4, 2 / 3),
    (1 / 2, 1.0),
    (1 / 8, 4 / 3),
    (1 / 8, 1 / 3),
    (2.0, 1.0),
    # Reached by losses with only one of them:
    (1 / 32, 1.0),
    (4.0, 1.0),
    (1.0, 2.0),
    (1.0, 1 / 6),
    (1.0, 1 / 2),
    (1.0, 5 / 3),
)


@dataclass(frozen=True)
class Contender:
    """A loss in the comparison.

    label: its name there. loss: level and settings to begin with. chosen_by: where the settings are from. fixed: they
    were given, and no search changes them.
    """

    label: str
    loss: LossConfig
    chosen_by: str
    fixed: bool = False


def parse_contender(text: str, recipe_level: Level = "pair") -> Contender:
    """`circle`, `circle:class` or `circle:pair:margin=0.4:gamma=32`, as in `circlet compare --losses`.

    >>> parse_contender("circle:class").loss.numbers
    {'margin': 0.25, 'gamma': 256.0}
    >>> parse_contender("arcface").label, parse_contender("triplet:margin=0.2").label
    ('arcface:class', 'triplet:pair:margin=0.2')

    Without a level: the one that the loss is made for, and the recipe's for Circle.
    """
    config, given = parse_loss(text, recipe_level)
    numbers, source = find_loss(config.name).paper_settings.get(config.level, ({}, ""))
    settings = [part for part in text.split(":") if "=" in part]
    label = ":".join([config.name, config.level, *settings])
    chosen = source or "the loss's own default"
    own = {setting.partition("=")[0] for setting in settings}
    stated = {name: value for name, value in numbers.items() if name not in own}
    return Contender(
        label, config.with_numbers({**config.numbers, **stated}), "given" if given else chosen, fixed=given
    )


def candidates(contender: Contender, count: int) -> list[LossConfig]:
    """Up to `count` settings to try, its own first; fewer where the loss has fewer to vary.

    >>> [list(loss.numbers.values()) for loss in candidates(parse_contender("am_softmax"), 3)]
    [[0.35, 64.0], [0.35, 16.0], [0.35, 4.0]]
    >>> [round(loss.numbers["margin"], 2) for loss in candidates(parse_contender("triplet"), 3)]
    [0.3, 0.2, 0.4]
    """
    own = contender.loss
    if contender.fixed:
        return [own]
    declared = find_loss(own.name).declared
    varied = []
    for scale, margin in FACTORS:
        numbers = {name: _varied(declared[name], value, scale, margin) for name, value in own.numbers.items()}
        if all(declared[name].allows(value) for name, value in numbers.items()):
            varied.append(own.with_numbers(numbers))
    return list(dict.fromkeys(varied))[:count]


def _varied(parameter: HyperParameter, value: float, scale: float, margin: float) -> float:
    factor = {"scale": scale, "temperature": 1 / scale, "margin": margin, "number": 1.0}[parameter.role]
    return round(value * factor, 4)


def at_edge(chosen: LossConfig, tried: Sequence[LossConfig]) -> bool:
    """Whether a chosen setting is the smallest or largest of the three or more that were tried.

    >>> tried = candidates(parse_contender("normface"), 3)
    >>> [at_edge(loss, tried) for loss in tried]
    [True, False, True]
    """
    for name, value in chosen.numbers.items():
        values = {loss.numbers[name] for loss in tried}
        if len(values) > 2 and value in (min(values), max(values)):
            return True
    return False


def settings_text(loss: LossConfig) -> str:
    """All numbers of a loss, those that no flag changes too.

    >>> settings_text(parse_contender("triplet").loss)
    'margin 0.3'
    """
    numbers = build_loss(loss).hyper_parameters
    return ", ".join(f"{name} {value:g}" for name, value in numbers.items()) or "none"


def in_common(base: Experiment, contenders: Sequence[Contender]) -> Experiment:
    """The experiment that all contenders share: batches, data and augmentation that suit every one of them.

    Made-up classes (composed, warped) have no class weight, and pair-wise labels need positives in the batch; so with
    both levels there, all go without made-up classes, in batches of P classes x K images.
    """
    levels = {contender.loss.level for contender in contenders}
    if levels != {"pair"}:
        base = replace(base, augment=replace(base.augment, composed_classes=0.0, warped_classes=0.0))
    if levels != {"class"}:
        base = replace(base, batch=replace(base.batch, sampler="pk"))
    return base
