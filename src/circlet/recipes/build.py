"""From an experiment's description to its parts: model, loss, objective."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from circlet import losses
from circlet.distributed.collectives import num_ranks
from circlet.models import Embedder, backbone
from circlet.recipes.experiment import LossConfig, ModelConfig
from circlet.train import Objective

LOSSES: dict[str, Callable[..., losses.PairLoss]] = {
    "circle": losses.CircleLoss,
    "unified": losses.UnifiedLoss,
    "am_softmax": losses.AMSoftmaxLoss,
    "arcface": losses.ArcFaceLoss,
    "normface": losses.NormFaceLoss,
    "softmax": losses.SoftmaxLoss,
    "triplet": losses.TripletLoss,
    "multi_similarity": losses.MultiSimilarityLoss,
    "lifted_structure": losses.LiftedStructureLoss,
    "n_pair": losses.NPairLoss,
    "info_nce": losses.InfoNCELoss,
}


def build_model(config: ModelConfig, channels: int) -> Embedder:
    """Backbone, pooling and head."""
    return Embedder(
        backbone(
            config.backbone,
            channels=channels,
            pretrained=config.pretrained,
            weights=config.weights,
            dropout=config.dropout,
            image_size=config.size,
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


def build_loss(config: LossConfig) -> losses.PairLoss:
    """The loss with its settings; ValueError for a setting that this loss does not have."""
    names = ("margin", "gamma", "alpha", "beta", "base", "temperature")
    given = {name: value for name in names if (value := getattr(config, name)) is not None}
    loss = LOSSES[config.name]()
    unknown = given.keys() - loss.hyper_parameters.keys()
    if unknown:
        raise ValueError(f"loss.{min(unknown)}: found with {config.name}, which has "
                         f"{', '.join(loss.hyper_parameters) or 'no settings'}")  # fmt: skip
    return LOSSES[config.name](**given)


def with_defaults(config: LossConfig) -> LossConfig:
    """The same, those settings that were not given set to the loss's own defaults."""
    numbers: dict[str, Any] = build_loss(config).hyper_parameters
    return replace(config, **numbers)


def build_objective(config: LossConfig, num_classes: int, embedding_dim: int, device: torch.device) -> Objective:
    """The loss at its level, with class weights where it needs them, and memory."""
    return Objective(
        build_loss(config),
        config.level,
        num_classes,
        embedding_dim,
        memory=config.memory,
        sample=config.sample,
        device=device if num_ranks(None) > 1 else None,
    )
