"""A recipe: an experiment with a name, where each of its settings is from, and what the paper found with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from circlet.experiments.experiment import Experiment
from circlet.experiments.keywords import changed
from circlet.experiments.leaves import leaves


class Setting(NamedTuple):
    """A setting of a recipe: its flag without the dashes, its value, and where that is from."""

    name: str
    value: Any
    origin: Literal["stated", "chosen"]
    source: str


@dataclass(frozen=True)
class Recipe:
    """`recipe()` is its experiment, `recipe(root="photos", minutes=20)` the same with other settings.

    make: gives the experiment. stated: settings that the paper states, by name, or by the first part of it, each with
    where; chosen: likewise, settings on which the paper is silent. figures: the paper's results in percent, by
    the names of result.json; table: where they stand in the paper.
    """

    name: str
    summary: str
    make: Callable[[], Experiment] = field(repr=False)
    stated: Mapping[str, str] = field(default_factory=dict, repr=False)
    chosen: Mapping[str, str] = field(default_factory=dict, repr=False)
    figures: Mapping[str, float] = field(default_factory=dict, repr=False)
    table: str = ""

    def __call__(self, **settings: Any) -> Experiment:
        """The experiment, which bears the recipe's name; settings as in `circlet.experiments.changed`."""
        return changed(replace(self.make(), recipe=self.name), **settings)

    def settings(self) -> list[Setting]:
        """All settings, in order, each with where it is from; the longest name that fits decides."""
        origins: list[tuple[str, Literal["stated", "chosen"], str]] = []
        origins += [(key, "stated", text) for key, text in self.stated.items()]
        origins += [(key, "chosen", text) for key, text in self.chosen.items()]
        origins.sort(key=lambda origin: len(origin[0]))
        found = []
        for name, value in leaves(self().to_json()).items():
            setting = Setting(name, value, "chosen", "the library's default")
            for key, origin, text in origins:
                if name == key or name.startswith(f"{key}."):
                    setting = Setting(name, value, origin, text)
            found.append(setting)
        return found
