"""The loss of an experiment: its name, what it is compared with, and its numbers.

The numbers are those that the loss itself declares, so a loss from anywhere has its own flags and its own lines in
config.json, beside the settings of the references.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import tyro

from circlet.extensions import import_path
from circlet.losses import Level, PairLoss, find_loss
from circlet.losses.catalogue import EXTENSIONS


@dataclass(frozen=True)
class LossConfig:
    """Which loss, compared with what.

    >>> from circlet import CircleLoss
    >>> LossConfig.of(CircleLoss(margin=0.4, gamma=80.0)).numbers
    {'margin': 0.4, 'gamma': 80.0}
    """

    name: str = "circle"
    """A loss of circlet.losses, one that an installed package has registered, or package.module:Class."""
    level: Level = "pair"
    """pair: the other samples of the batch; class: class weights; joint: both in one loss."""
    settings: tyro.conf.Suppress[tuple[tuple[str, float], ...]] = ()
    """Hyper-parameters of the loss by name; those that are not there have the loss's own defaults."""
    memory: int = 0
    """Embeddings of the last batches that join the references (memory bank); 0: none."""
    sample: float = 1.0
    """Share of the class weights that a step compares with, the batch's own and the rest at random (Partial FC). Below
    1 the loss is biased, as if the margin were smaller by -log(sample) / gamma or more."""
    centers: int = 0
    """Class weights of each class; 0: as many as the loss is made for (1 for most)."""

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise ValueError(f"loss.memory: found {self.memory}, expected 0 or a number of embeddings")
        if self.centers < 0:
            raise ValueError(f"loss.centers: found {self.centers}, expected 0 or a number of class weights")
        if not 0 < self.sample <= 1:
            raise ValueError(f"loss.sample: found {self.sample}, expected above 0 and at most 1")
        if self.sample < 1 and self.level == "pair":
            raise ValueError(f"loss.sample: found {self.sample} with level pair, expected level class or joint: it is "
                             "a share of the class weights")  # fmt: skip

    @classmethod
    def of(cls, loss: PairLoss, level: Level | None = None, **references: Any) -> "LossConfig":
        """The settings of a loss; at the level that it is made for if none is given.

        references: memory, sample, centers.
        """
        return cls(name_of(type(loss)), level or loss.level, tuple(loss.hyper_parameters.items()), **references)

    @property
    def numbers(self) -> dict[str, float]:
        """The hyper-parameters that are given."""
        return dict(self.settings)

    def with_numbers(self, numbers: Mapping[str, float]) -> "LossConfig":
        """The same with other hyper-parameters in place of those given."""
        return replace(self, settings=tuple(numbers.items()))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, the hyper-parameters beside the rest."""
        rest = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "settings"}
        return {"name": rest.pop("name"), "level": rest.pop("level"), **self.numbers, **rest}

    @classmethod
    def from_json(cls, content: Any, where: str) -> "LossConfig":
        """What `to_json` wrote; nothing is imported. ValueError for a value of another type."""
        if not isinstance(content, dict):
            raise ValueError(f"{where}: found {content!r}, expected the settings of a loss")
        kinds: dict[str, type] = {"name": str, "level": str, "memory": int, "sample": float, "centers": int}
        given: dict[str, Any] = {}
        numbers: dict[str, float] = {}
        for key, value in content.items():
            if key in kinds:
                value = float(value) if kinds[key] is float and type(value) is int else value
                if type(value) is not kinds[key] or (key == "level" and value not in ("pair", "class", "joint")):
                    raise ValueError(f"{where}.{key}: found {value!r}, expected {kinds[key].__name__}")
                given[key] = value
            elif value is not None:  # earlier versions listed what a loss does not have
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise ValueError(f"{where}.{key}: found {value!r}, expected a number")
                numbers[key] = float(value)
        return cls(settings=tuple(numbers.items()), **given)


def name_of(loss: type[PairLoss]) -> str:
    """The name by which a run finds this loss again: its own, or `package.module:Class`."""
    known = loss.name in EXTENSIONS.names() and find_loss(loss.name) is loss
    return loss.name if known else import_path(loss)


def build_loss(config: LossConfig) -> PairLoss:
    """The loss with its settings; ValueError for a setting that this loss does not have."""
    loss: Any = find_loss(config.name)
    unknown = config.numbers.keys() - loss.declared.keys()
    if unknown:
        raise ValueError(f"loss.{min(unknown)}: found with {config.name}, which has "
                         f"{', '.join(loss.declared) or 'no settings'}")  # fmt: skip
    built: PairLoss = loss(**config.numbers)
    return built


def with_defaults(config: LossConfig) -> LossConfig:
    """The same, those settings that were not given set to the loss's own defaults."""
    return config.with_numbers(build_loss(config).hyper_parameters)


class ParsedLoss(NamedTuple):
    """A loss given as text; whether its settings were given too."""

    config: LossConfig
    has_settings: bool


def parse_loss(text: str, default_level: Level | None = None) -> ParsedLoss:
    """`circle`, `circle:class` or `circle:pair:margin=0.4:gamma=32`, as in `circlet compare --losses`.

    >>> parse_loss("circle:pair:margin=0.4").config.numbers
    {'margin': 0.4, 'gamma': 256.0}

    Without a level: the one that the loss is made for; for Circle, which is made for both, `default_level`. A loss of
    another package is `package.module:Class`, and then the same. Settings that are not given are the loss's own.
    """
    words = text.split(":")
    if len(words) > 1 and words[0] not in EXTENSIONS.names():
        words = [":".join(words[:2]), *words[2:]]  # package.module:Class
    name, *rest = words
    loss = find_loss(name)
    levels = [part for part in rest if "=" not in part]
    if len(levels) > 1 or not set(levels) <= {"pair", "class", "joint"}:
        raise ValueError(f"losses: found {text!r}, expected NAME[:pair|class|joint][:SETTING=NUMBER ...]")
    level: Any = (
        levels[0] if levels else default_level if default_level and len(loss.paper_settings) > 1 else loss.level
    )
    given: dict[str, float] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if equals:
            try:
                given[key] = float(value)
            except ValueError:
                raise ValueError(f"losses: found {part!r} in {text!r}, expected a number") from None
    return ParsedLoss(with_defaults(LossConfig(name, level, tuple(given.items()))), bool(given))
