"""The recipe for images in shards, WebDataset tars or Parquet with their bytes: streamed, and never listed."""

from dataclasses import replace

from circlet.experiments.experiment import Experiment
from circlet.recipes.settings import folder
from circlet.transfer import TransferConfig


def shards() -> Experiment:
    """Your own photographs in WebDataset tars or Parquet, more than a disk lists: streamed, on any number of ranks."""
    experiment = folder()
    return replace(
        experiment,
        recipe="shards",
        # A tenth of the classes of a large collection is enough to test on, and all of its images are embedded.
        data=replace(experiment.data, source="shards", test_share=0.1, validation_share=0.05),
        batch=replace(experiment.batch, classes=32, samples=4),
        loop=replace(experiment.loop, steps=2000),
        # No stages: they compute the features of every image before the first step.
        transfer=TransferConfig(stages=()),
    )
