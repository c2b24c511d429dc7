"""The recipe for individuals: animals, people without faces, vehicles, listed in a manifest.

What tells individuals apart from other classes: there are many with few images each, cut out of larger photos (column
bbox), in bursts and encounters that must not be split (group), over months and years (time).
"""

from dataclasses import replace

from circlet.experiments.experiment import Experiment
from circlet.recipes.settings import manifest


def individuals() -> Experiment:
    """Animals, people, vehicles in a CSV or Parquet file: path, label, and perhaps bbox, group, time, category."""
    experiment = manifest()
    return replace(
        experiment,
        recipe="individuals",
        # Boxes of animals and vehicles are of all shapes, and what tells them apart may be at their ends: nothing is
        # cut off. Few images each: 16 x 4, where a class of fewer gives all it has. A mirror image shows the other
        # flank, which is marked in another way.
        data=replace(experiment.data, fit="pad", validation_share=0.15),
        batch=replace(experiment.batch, sampler="pk", classes=16, samples=4),
        augment=replace(experiment.augment, flip=False, crop=(0.7, 1.0)),
    )
