"""Trackers: TensorBoard, MLflow and Weights & Biases see a run while it trains, or one that has ended.

Run:     python examples/trackers.py tensorboard     (or mlflow, or wandb: offline)
Prints:  how many lines of metrics.jsonl went there while training, and afterwards.

On the command line, from the folder where this file lies: circlet train glyphs --loop.trackers trackers:tensorboard
"""

import json
import sys
import time
from pathlib import Path

import circlet
from circlet.data import glyphs


def numbers(line: dict) -> dict[str, float]:
    return {name.replace("@", "-at-"): value for name, value in line.items() if isinstance(value, int | float)}


def tensorboard(folder: Path, config: dict):
    from torch.utils.tensorboard import SummaryWriter  # pip install tensorboard; tensorboard --logdir runs

    writer = SummaryWriter(str(folder / "tensorboard"))

    def tell(line: dict) -> None:
        for name, value in numbers(line).items():
            writer.add_scalar(name, value, line["step"])
        writer.flush()

    return tell


def mlflow(folder: Path, config: dict):
    from mlflow import MlflowClient  # pip install mlflow; later: mlflow ui --backend-store-uri sqlite:///mlflow.db
    from mlflow.entities import Metric

    client = MlflowClient("sqlite:///mlflow.db")
    found = client.get_experiment_by_name("circlet")
    run = client.create_run(found.experiment_id if found else client.create_experiment("circlet"), run_name=folder.name)
    client.log_param(run.info.run_id, "loss", json.dumps(config["loss"]))

    def tell(line: dict) -> None:
        when = int(1000 * time.time()), line["step"]
        client.log_batch(run.info.run_id, [Metric(*each, *when) for each in numbers(line).items()])

    return tell


def wandb(folder: Path, config: dict):
    import wandb  # pip install wandb; later: wandb sync wandb/offline-run-*

    run = wandb.init(project="circlet", name=folder.name, config=config, mode="offline")
    return lambda line: run.log(numbers(line), step=line["step"])


if __name__ == "__main__":
    track = {"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}[sys.argv[1]]
    short = circlet.recipes.glyphs(trackers=[track], steps=20, batch__classes=8, loop__log_every=5)
    run = circlet.train(short, data=glyphs(num_instances=8), report=False)
    tell = track(run.path, run.experiment.to_json())  # afterwards: the same, out of metrics.jsonl
    for line in run.log:
        tell(line)
    print(f"{run.path}: {len(run.log)} lines while training, {len(run.log)} afterwards, to {sys.argv[1]}")
