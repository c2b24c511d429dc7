"""Recipes for characters and for your own images: each a function that returns an experiment."""

from dataclasses import replace

from circlet.augment import AugmentConfig
from circlet.experiments.experiment import DataConfig, Experiment, ModelConfig
from circlet.experiments.loss import LossConfig
from circlet.losses import CircleLoss
from circlet.training import LoopConfig, OptimizerConfig
from circlet.training.image_batches import BatchConfig
from circlet.transfer import TransferConfig

CHARACTERS = AugmentConfig(
    rotation=15.0,
    zoom=0.1,
    aspect=0.15,
    shear=0.2,
    shift=0.04,
    elastic=0.12,
    stroke=0.5,
    dihedral_classes=True,
    composed_classes=0.25,
    warped_classes=0.75,
    fill=1.0,
)


def glyphs() -> Experiment:
    """Characters rendered from matplotlib's typefaces, tested on unseen characters; nothing to download."""
    return _characters("glyphs", steps=300)


def omniglot() -> Experiment:
    """Handwritten characters of five alphabets, tested on three others (the two official five-alphabet subsets)."""
    return _characters("omniglot", steps=4500)


def _characters(source: str, *, steps: int) -> Experiment:
    """Settings for drawn characters, chosen on held-out training alphabets of Omniglot."""
    return Experiment(
        recipe=source,
        data=DataConfig(source=source, fit="ink"),
        model=ModelConfig(dropout=0.2),
        loss=LossConfig.of(CircleLoss(margin=0.4, gamma=32.0)),
        augment=CHARACTERS,
        loop=LoopConfig(steps=steps, optimizer=OptimizerConfig(learning_rate=3e-3, weight_decay=1e-2)),
    )


def folder() -> Experiment:
    """Your own photographs: root/class/image (some classes held out for testing), or with train, query, gallery."""
    return Experiment(
        recipe="folder",
        data=DataConfig(
            source="folder",
            size=None,
            channels=3,
            fit="crop",
            interpolation=None,
            validation_share=0.2,
            in_memory=False,
        ),
        model=ModelConfig(
            backbone="efficientnet_lite0",
            pretrained=True,
            size=None,
            crop_share=None,
            pooling="own",
            head="linear",
            embedding_dim=None,
            mean=None,
            std=None,
        ),
        loss=LossConfig.of(CircleLoss(margin=0.4, gamma=80.0)),
        batch=BatchConfig(classes=16, samples=5),
        augment=AugmentConfig(
            flip=True, crop=(0.4, 1.0), brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02, blur=0.1
        ),
        loop=LoopConfig(
            steps=300,
            optimizer=OptimizerConfig(
                learning_rate=1e-4,
                backbone_lr_scale=3.0,
                weight_decay=1e-2,
                warmup=0.1,
                freeze_batchnorm=True,
            ),
        ),
        transfer=TransferConfig(stages=("closed_form", "head")),
    )


def scratch() -> Experiment:
    """Your own images where no pretrained network knows anything like them: a small network from random weights."""
    return Experiment(
        recipe="scratch",
        data=DataConfig(source="folder", size=(72, 72), channels=3, fit="crop", validation_share=0.1, in_memory=True),
        model=ModelConfig(
            size=(64, 64),
            crop_share=0.9,
            pooling="gem",
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        loss=LossConfig.of(CircleLoss(margin=0.4, gamma=80.0)),
        batch=BatchConfig(classes=16, samples=5),
        augment=AugmentConfig(flip=True, crop=(0.5, 1.0), brightness=0.2, contrast=0.2),
        loop=LoopConfig(steps=2000, optimizer=OptimizerConfig(learning_rate=2e-3, weight_decay=1e-2)),
    )


def manifest() -> Experiment:
    """Your own photographs, listed in a CSV or Parquet file: columns path and label, and perhaps split and camera."""
    experiment = folder()
    return replace(experiment, recipe="manifest", data=replace(experiment.data, source="manifest"))
