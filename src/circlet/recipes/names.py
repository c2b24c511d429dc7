"""All recipes by name; every setting of a recipe is a flag of `circlet train`."""

from circlet.recipes.recipe import Recipe
from circlet.recipes.settings import folder, glyphs, manifest, omniglot
from circlet.recipes.tables import paper_recipes

OWN = tuple(
    Recipe(make().recipe, (make.__doc__ or "").split("\n")[0], make) for make in (glyphs, omniglot, folder, manifest)
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (*OWN, *paper_recipes())}
