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
| loading        | splits and pixels                                                                   |
| build          | model, objective                                                                    |
| run            | a run from start to end: load, train, embed, measure, write                         |
| metrics        | what is measured, by task                                                           |
| trained        | a trained run: loaded, tested again, used to embed                                  |
| face_sets      | the face test sets                                                                  |
"""

from circlet.recipes.experiment import (
    DataConfig,
    Experiment,
    ModelConfig,
)
from circlet.recipes.face_sets import open_face_sets
from circlet.recipes.loading import build_splits, check_task
from circlet.recipes.loss import LossConfig, build_loss, with_defaults
from circlet.recipes.names import RECIPES, find_recipe
from circlet.recipes.recipe import Recipe
from circlet.recipes.run import Outcome, test, train
from circlet.recipes.testing import FaceSets, TestConfig
from circlet.recipes.trained import embed_with_run, evaluate_run, keep_evaluation, load_run
from circlet.train.image_batches import BatchConfig

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
    "embed_with_run",
    "evaluate_run",
    "find_recipe",
    "keep_evaluation",
    "load_run",
    "open_face_sets",
    "test",
    "train",
    "with_defaults",
]
