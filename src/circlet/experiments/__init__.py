"""Experiments: what decides a run, and how it is loaded, built, run, tested, found again.

| file       | what it is                                                                              |
|------------|-----------------------------------------------------------------------------------------|
| experiment | all settings of a run, as frozen dataclasses; `loss` and `testing` parts of them         |
| keywords   | settings as keywords, as Python users give them                                         |
| leaves     | settings by their whole names; those that say where things lie                          |
| numbers    | numbers that no setting may have                                                        |
| resuming   | what may be changed of a run that goes on, and the note of it                            |
| from_json  | settings out of a file; `earlier` those that earlier versions wrote                      |
| loading    | splits and pixels                                                                       |
| answerable | whether a test has anything to measure                                                  |
| remembered, regrouped | the split that a run keeps, and what is on the disk in its roles              |
| ranks      | what all ranks must have alike                                                          |
| build      | model, objective                                                                        |
| preprocessing | what is left to the weights of the network                                           |
| run        | a run from start to end: load, train, embed, measure, write                             |
| staged, network_stage, planning | the same from a pretrained network, in stages that are judged      |
| outcome    | what a run found on its test classes                                                    |
| head_runs  | many heads on the features of one frozen network: what they share                       |
| metrics    | what is measured, by task, with intervals over classes                                  |
| held_out, promises | thresholds, chosen on held-out classes; what they give on the test classes      |
| face_sets  | the face test sets                                                                      |
| elsewhere  | other data than a run's own, to test on and to embed                                    |
| folders    | run folders: named, found, opened, with what in them is trusted                         |
| series     | several runs, one after another                                                         |
| trained    | a trained run: loaded, tested again, used to embed                                      |
"""

from circlet.experiments.experiment import DataConfig, Experiment, ModelConfig
from circlet.experiments.face_sets import open_face_sets
from circlet.experiments.folders import experiment_of, next_folder, open_run, settings_digest, settings_of
from circlet.experiments.held_out import thresholds_of
from circlet.experiments.keywords import changed
from circlet.experiments.loading import build_splits, check_task
from circlet.experiments.loss import LossConfig, build_loss, parse_loss, with_defaults
from circlet.experiments.outcome import Outcome, rows_of, test
from circlet.experiments.preprocessing import resolved
from circlet.experiments.ranks import require_same_training
from circlet.experiments.remembered import common_splits, splits_of
from circlet.experiments.run import train
from circlet.experiments.testing import FaceSets, TestConfig
from circlet.experiments.trained import embed_with_run, evaluate_run, keep_evaluation, load_run
from circlet.training.image_batches import BatchConfig

__all__ = [
    "BatchConfig",
    "DataConfig",
    "Experiment",
    "FaceSets",
    "LossConfig",
    "ModelConfig",
    "Outcome",
    "TestConfig",
    "build_loss",
    "build_splits",
    "changed",
    "check_task",
    "common_splits",
    "embed_with_run",
    "evaluate_run",
    "experiment_of",
    "keep_evaluation",
    "load_run",
    "next_folder",
    "open_face_sets",
    "open_run",
    "parse_loss",
    "require_same_training",
    "resolved",
    "rows_of",
    "settings_digest",
    "settings_of",
    "splits_of",
    "test",
    "thresholds_of",
    "train",
    "with_defaults",
]
