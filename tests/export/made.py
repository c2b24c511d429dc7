"""A run folder and its model, small and untrained, without a training: what an export needs and nothing more."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from circlet.experiments import Experiment, ModelConfig, build_splits
from circlet.experiments.build import build_model
from circlet.experiments.experiment import DataConfig
from circlet.experiments.remembered import remember
from circlet.inference import load_model
from circlet.training import RunFolder

NAMES = [f"class <b>*{number}*" for number in range(8)]
RESULT = {
    "test": {"recall@1": 0.75, "map@r": 0.5, "mrr": None},
    "raw_pixels": {"recall@1": 0.25, "map@r": 0.125},
    "intervals": {"recall@1": [0.625, 0.875]},
    "train_classes": 4,
    "train_images": 16,
    "test_classes": 4,
    "test_images": 16,
}


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Eight classes of four photographs of some colours each, of several shapes."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir()
        colours = rng.integers(0, 255, (3, 3, 3), dtype=np.uint8)
        for i in range(4):
            noisy = np.clip(colours.astype(int) + rng.integers(-30, 30, (3, 3, 3)), 0, 255).astype(np.uint8)
            size = (40 + 10 * i, 60 - 8 * i)
            Image.fromarray(noisy).resize(size, Image.Resampling.BICUBIC).save(root / name / f"{i}.png")
    return root


def make_run(path, photos, *, seed=0, result=RESULT, **model):
    """A run folder as train leaves it, of a network with random weights whose batch norms have seen something."""
    settings = {"size": (16, 20), "crop_share": 0.8, "mean": (0.5,) * 3, "std": (0.25,) * 3, "embedding_dim": 16,
                "pooling": "average", "head": "linear+bn"}  # fmt: skip
    data = DataConfig(source="folder", root=photos, size=(24, 28), channels=3, fit="crop", workers=0)
    experiment = Experiment(recipe="scratch", data=data, model=ModelConfig(**{**settings, **model}))
    run = RunFolder.create(path, experiment.to_json())
    torch.manual_seed(seed)
    network = build_model(experiment.model, 3)
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(16, 3, 16, 20))
    remember(path / "splits.json", build_splits(experiment.data))
    run.write_json("data.json", {"train_classes": 4, "train_images": 16})
    run.save(run.last, {"model": network.state_dict()})
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))
    return path


@pytest.fixture(scope="session")
def run(photos, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "first_run", photos)


@pytest.fixture
def model(run):
    return load_model(run, device="cpu")
