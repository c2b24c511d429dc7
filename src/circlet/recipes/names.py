"""All recipes by name; every setting of a recipe is a flag of `circlet train`."""

import difflib

from circlet.recipes.recipe import Recipe
from circlet.recipes.settings import folder, glyphs, manifest, omniglot
from circlet.recipes.tables import paper_recipes

OWN = tuple(
    Recipe(make().recipe, (make.__doc__ or "").split("\n")[0], make) for make in (glyphs, omniglot, folder, manifest)
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*OWN, *paper_recipes())}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; else a ValueError with the nearest names."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=4, cutoff=0.3) or RECIPES
        raise ValueError(f"recipe: found {name!r}, expected one of {', '.join(near)} (circlet recipes lists all)")
    return RECIPES[name]
