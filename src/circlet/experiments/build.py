"""From an experiment's description to its parts: model, objective, trackers."""

from dataclasses import replace
from pathlib import Path

import torch

from circlet.augment import Augment
from circlet.distributed import num_ranks
from circlet.experiments.experiment import Experiment, ModelConfig
from circlet.experiments.loss import LossConfig, build_loss
from circlet.models import Embedder, backbone
from circlet.training import Objective
from circlet.training.trackers import TRACKERS, Tracker
from circlet.transfer import Fitting


def build_model(config: ModelConfig, channels: int) -> Embedder:
    """Backbone, pooling and head; of settings that are `resolved`."""
    assert config.size is not None
    assert config.mean is not None
    assert config.std is not None
    return Embedder(
        backbone(
            config.backbone,
            channels=channels,
            pretrained=config.pretrained,
            weights=config.weights,
            dropout=config.dropout,
            image_size=config.size,
            pooling=config.pooling,
        ),
        config.embedding_dim,
        image_size=config.size,
        channels=channels,
        pooling=config.pooling,
        head=config.head,
        dropout=config.dropout,
        mean=config.mean,
        std=config.std,
    )


def without_weights(config: ModelConfig) -> ModelConfig:
    """The same model, to be filled from a checkpoint: no published weights are fetched or read."""
    return replace(config, pretrained=False, weights=None)


def build_objective(config: LossConfig, num_classes: int, embedding_dim: int, device: torch.device) -> Objective:
    """The loss at its level, with class weights where it needs them, and memory."""
    return Objective(
        build_loss(config),
        config.level,
        num_classes,
        embedding_dim,
        memory=config.memory,
        sample=config.sample,
        centers=config.centers,
        device=device if num_ranks(None) > 1 else None,
    )


def build_augment(experiment: Experiment, size: tuple[int, int]) -> Augment | None:
    """The random changes to training images, to that size; none of vectors, which are taken as they are."""
    return None if experiment.data.of_vectors else Augment(experiment.augment, size)


def fitting_of(experiment: Experiment) -> Fitting:
    """How heads on frozen features are fitted, with the experiment's loss."""

    def make_objective(num_classes: int, embedding_dim: int) -> Objective:
        return build_objective(experiment.loss, num_classes, embedding_dim, torch.device("cpu"))

    dim, seed = experiment.model.embedding_dim, experiment.loop.seed
    return Fitting(experiment.transfer, experiment.batch, make_objective, dim, seed)


def build_trackers(experiment: Experiment, folder: Path) -> list[Tracker]:
    """The trackers of a run, each told of its folder and settings."""
    config = experiment.to_json()
    return [TRACKERS.find(name)(folder, config) for name in experiment.loop.trackers]
