"""Contenders: a loss at a level with its settings, where these come from, and which others a search tries.

Without a search a loss has the settings of the Circle-loss paper for its level, or those that the library has by
default, which are those of its own paper. The recipe's settings are not used: they were tuned for one loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from circlet.recipes import Experiment, LossConfig, build_loss, with_defaults
from circlet.train import Level

CLASS_LEVEL = ("am_softmax", "arcface", "normface", "softmax")

# Stated in the Circle-loss paper, by name and level.
IN_THE_PAPER: dict[tuple[str, str], tuple[dict[str, float], str]] = {
    ("circle", "pair"): ({"margin": 0.4, "gamma": 80.0}, "fine-grained retrieval"),
    ("circle", "class"): ({"margin": 0.25, "gamma": 256.0}, "faces"),
    ("circle", "joint"): ({"margin": 0.25, "gamma": 256.0}, "faces, for class-level labels"),
    ("am_softmax", "class"): ({"margin": 0.35, "gamma": 64.0}, "faces, as a baseline"),
    ("arcface", "class"): ({"margin": 0.5, "gamma": 64.0}, "faces, as a baseline"),
}

SCALES, MARGINS = ("gamma", "alpha", "beta"), ("margin", "base")

# What a search tries, as factors of (scales, margins); a loss without one of them skips what repeats itself. InfoNCE's
# temperature is not searched: NormFace's gamma is its inverse.
FACTORS = (
    (1.0, 1.0),
    (1 / 4, 1.0),
    (1 / 16, 1.0),
    (1 / 4, 2 / 3),
    (1 / 2, 1.0),
    (1 / 8, 4 / 3),
    (1 / 8, 1 / 3),
    (2.0, 1.0),
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

    Without a level: class for losses that are made for class weights, the recipe's for Circle, pair for the others.

    >>> parse_contender("circle:class").loss.gamma
    256.0
    >>> parse_contender("arcface").label, parse_contender("triplet:margin=0.2").label
    ('arcface:class', 'triplet:pair:margin=0.2')
    """
    name, *rest = text.split(":")
    levels = [part for part in rest if "=" not in part]
    if len(levels) > 1 or not set(levels) <= set(get_args(Level)):
        raise ValueError(f"losses: found {text!r}, expected NAME[:pair|class|joint][:SETTING=NUMBER ...]")
    default = "class" if name in CLASS_LEVEL else recipe_level if name == "circle" else "pair"
    level = levels[0] if levels else default
    given: dict[str, Any] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if equals:
            try:
                given[key] = float(value)
            except ValueError:
                raise ValueError(f"losses: found {part!r} in {text!r}, expected a number") from None
    settings, task = IN_THE_PAPER.get((name, level), ({}, ""))
    loss: LossConfig = Experiment.from_json({"loss": {"name": name, "level": level, **settings, **given}}).loss
    loss = with_defaults(loss)
    label = ":".join([name, level, *(part for part in rest if "=" in part)])
    chosen_by = f"the Circle-loss paper ({task})" if task else "the library's default"
    return Contender(label, loss, "given" if given else chosen_by, fixed=bool(given))


def candidates(contender: Contender, count: int) -> list[LossConfig]:
    """Up to `count` settings to try, its own first; fewer where the loss has fewer to vary.

    >>> [(loss.margin, loss.gamma) for loss in candidates(parse_contender("am_softmax"), 3)]
    [(0.35, 64.0), (0.35, 16.0), (0.35, 4.0)]
    >>> [round(loss.margin, 2) for loss in candidates(parse_contender("triplet"), 3)]
    [0.3, 0.2, 0.4]
    """
    own = contender.loss
    if contender.fixed:
        return [own]
    varied = []
    for scale, margin in FACTORS:
        factors = {**dict.fromkeys(SCALES, scale), **dict.fromkeys(MARGINS, margin)}
        numbers = {name: getattr(own, name) for name in factors if getattr(own, name) is not None}
        varied.append(replace(own, **{name: round(value * factors[name], 4) for name, value in numbers.items()}))
    return list(dict.fromkeys(varied))[:count]


def at_edge(chosen: LossConfig, tried: Sequence[LossConfig]) -> bool:
    """Whether a chosen setting is the smallest or largest of the three or more that were tried.

    >>> tried = candidates(parse_contender("normface"), 3)
    >>> [at_edge(loss, tried) for loss in tried]
    [True, False, True]
    """
    for name in SCALES + MARGINS:
        values = {getattr(loss, name) for loss in tried}
        if len(values) > 2 and getattr(chosen, name) in (min(values), max(values)):
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
