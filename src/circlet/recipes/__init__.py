"""Recipes: whole experiments by name, each a function with keyword settings.

    circlet.recipes.folder(root="photos", minutes=20, loss=circlet.TripletLoss(margin=0.2))

| file           | what it is                                                                          |
|----------------|-------------------------------------------------------------------------------------|
| names          | all recipes by name: ours, those of installed packages, `package.module:function`    |
| settings       | characters, your own images                                                         |
| individuals, vectors, shards | animals, people and vehicles; vectors; images in shards               |
| face_task      | the paper's task 1, faces                                                           |
| reid_task      | the paper's task 2, person re-identification                                        |
| retrieval_task | the paper's task 3, fine-grained retrieval                                          |
| tables         | the rows of the paper's tables, with their figures                                  |
| recipe         | a recipe: settings, where each is from, what the paper found                        |
| results        | the finished runs of recipes                                                        |
"""

from typing import Any

from circlet.recipes.names import RECIPES, find_recipe
from circlet.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe", "find_recipe"]

# Recipes whose files bear their names: the attributes are the recipes.
individuals, shards, vectors = (RECIPES[name] for name in ("individuals", "shards", "vectors"))


def __getattr__(name: str) -> Any:
    if name.replace("_", "-") in RECIPES:
        return RECIPES[name.replace("_", "-")]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *(name.replace("-", "_") for name in RECIPES)]
