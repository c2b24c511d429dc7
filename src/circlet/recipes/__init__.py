"""Recipes: whole experiments, and how they are built, run and tested.

| file           | what it is                                                                          |
|----------------|-------------------------------------------------------------------------------------|
| names          | all recipes by name                                                                 |
| settings       | characters, your own images                                                         |
| face_task      | the paper's task 1, faces                                                           |
| reid_task      | the paper's task 2, person re-identification                                        |
| retrieval_task | the paper's task 3, fine-grained retrieval                                          |
| tables         | the rows of the paper's tables, with their figures                                  |
| recipe         | a recipe: settings, where each is from, what the paper found                        |
| experiment     | all settings of a run; `testing` those of its test, `from_json` their way back      |
| loss           | the loss of an experiment, with the numbers that it declares                        |
| build          | splits, pixels, model, objective, batches                                           |
| run            | a run from start to end                                                             |
| embedding      | test images and their embeddings                                                    |
| metrics        | what is measured on them, by task                                                   |
| face_sets      | the face test sets                                                                  |
"""

from circlet.recipes.build import build_splits, check_task, load_pixels
from circlet.recipes.embedding import embed_pixels, embed_test_set, load_test_set
from circlet.recipes.experiment import (
    BatchConfig,
    DataConfig,
    Experiment,
    ModelConfig,
)
from circlet.recipes.face_sets import open_face_sets
from circlet.recipes.loss import LossConfig, build_loss, with_defaults
from circlet.recipes.names import RECIPES, find_recipe
from circlet.recipes.recipe import Recipe
from circlet.recipes.run import Outcome, load_run, test, train
from circlet.recipes.testing import FaceSets, TestConfig

__all__ = [
    "RECIPES",
    "BatchConfig",
    "DataConfig",
    "Experiment",
    "FaceSets",
    "LossConfig",
    "ModelConfig",
    "Outcome",
    "Recipe",
    "TestConfig",
    "build_loss",
    "build_splits",
    "check_task",
    "embed_pixels",
    "embed_test_set",
    "find_recipe",
    "load_pixels",
    "load_run",
    "load_test_set",
    "open_face_sets",
    "test",
    "train",
    "with_defaults",
]
