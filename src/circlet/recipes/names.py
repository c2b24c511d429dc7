"""All recipes by name: ours, those that installed packages have registered, and `package.module:function`.

An installed package registers a recipe as an entry point of the group `circlet.recipes`: a `Recipe`, or a function that
gives an `Experiment`.
"""

from typing import Any

from circlet.experiments import Experiment
from circlet.extensions import Extensions
from circlet.recipes.individuals import individuals
from circlet.recipes.recipe import Recipe
from circlet.recipes.settings import folder, glyphs, manifest, omniglot, scratch
from circlet.recipes.shards import shards
from circlet.recipes.tables import paper_recipes
from circlet.recipes.vectors import vectors

OWN = tuple(
    Recipe(make().recipe, (make.__doc__ or "").split("\n")[0], make)
    for make in (glyphs, omniglot, folder, manifest, shards, individuals, vectors, scratch)
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*OWN, *paper_recipes())}


def _check(label: str, given: Any) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if not callable(given):
        raise ValueError(f"{label}: found {type(given).__name__}, expected a function that gives an Experiment")
    try:
        found = given()
    except TypeError as error:
        raise ValueError(f"{label}: could not be called without arguments ({error})") from error
    if not isinstance(found, Experiment):
        raise ValueError(f"{label}: gave {type(found).__name__}, expected a circlet.experiments.Experiment")
    name = label.partition("'")[2].partition("'")[0]
    return Recipe(name, (given.__doc__ or "").split("\n")[0], given)


def _ours() -> dict[str, Recipe]:
    return RECIPES


EXTENSIONS: Extensions[Recipe] = Extensions("circlet.recipes", "recipe", _ours, _check)


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; else a ValueError with the nearest names."""
    return EXTENSIONS.find(name)
