"""A recipe: an experiment with a name, where each of its settings is from, and what the paper found with it."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from circlet.recipes.experiment import Experiment


class Setting(NamedTuple):
    """A setting of a recipe: its flag without the dashes, its value, and where that is from."""

    name: str
    value: Any
    origin: Literal["stated", "chosen"]
    source: str


@dataclass(frozen=True)
class Recipe:
    """`recipe()` is its experiment.

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

    def __call__(self) -> Experiment:
        """The experiment, which bears the recipe's name."""
        return replace(self.make(), recipe=self.name)

    def settings(self) -> list[Setting]:
        """All settings, in order, each with where it is from; the longest name that fits decides."""
        origins = [(key, "stated", text) for key, text in self.stated.items()]
        origins += [(key, "chosen", text) for key, text in self.chosen.items()]
        origins.sort(key=lambda origin: len(origin[0]))
        found = []
        for name, value in _leaves(self().to_json()):
            setting = Setting(name, value, "chosen", "the library's default")
            for key, origin, text in origins:
                if name == key or name.startswith(f"{key}."):
                    setting = Setting(name, value, "stated" if origin == "stated" else "chosen", text)
            found.append(setting)
        return found


def find_recipe(name: str, recipes: Mapping[str, Callable[[], Experiment]]) -> Callable[[], Experiment]:
    """The recipe of that name; else a ValueError with the nearest names."""
    if name not in recipes:
        near = difflib.get_close_matches(name, recipes, n=3, cutoff=0.4) or recipes
        raise ValueError(f"recipe: found {name!r}, expected one of {', '.join(near)} (circlet recipes lists all)")
    return recipes[name]


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key != "recipe":
            yield f"{prefix}{key}", value
