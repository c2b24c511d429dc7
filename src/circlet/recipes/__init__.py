"""Recipes: whole experiments, and how they are built and run."""

from circlet.recipes.build import build_loss, build_splits, load_pixels
from circlet.recipes.experiment import (
    BatchConfig,
    DataConfig,
    Experiment,
    LossConfig,
    ModelConfig,
)
from circlet.recipes.run import Outcome, embed_pixels, load_run, load_test_set, test, train
from circlet.recipes.settings import RECIPES

__all__ = [
    "RECIPES",
    "BatchConfig",
    "DataConfig",
    "Experiment",
    "LossConfig",
    "ModelConfig",
    "Outcome",
    "build_loss",
    "build_splits",
    "embed_pixels",
    "load_pixels",
    "load_run",
    "load_test_set",
    "test",
    "train",
]
