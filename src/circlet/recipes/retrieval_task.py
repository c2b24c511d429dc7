"""Fine-grained retrieval (the paper's table 5): BN-Inception, pair-wise labels, on birds, cars and goods.

The paper states network, batches and loss; optimiser, schedule and augmentation are those of Wang et al.,
"Multi-Similarity Loss", CVPR 2019, in its public code. In-Shop and VehicleID are not in the paper.
"""

from typing import Literal

from circlet.augment import AugmentConfig
from circlet.experiments.experiment import DataConfig, Experiment, ModelConfig
from circlet.experiments.loss import LossConfig
from circlet.experiments.testing import TestConfig
from circlet.losses import CircleLoss, MultiSimilarityLoss
from circlet.models import PREPROCESSING
from circlet.training import LoopConfig, OptimizerConfig
from circlet.training.image_batches import BatchConfig

DataName = Literal["cub", "cars", "sop", "inshop", "vehicleid"]
SOURCES: dict[DataName, str] = {
    "cub": "cub200",
    "cars": "cars196",
    "sop": "sop",
    "inshop": "inshop",
    "vehicleid": "vehicleid-800",
}
KS: dict[DataName, tuple[int, ...]] = {
    "cub": (1, 2, 4, 8),
    "cars": (1, 2, 4, 8),
    "sop": (1, 10, 100, 1000),
    "inshop": (1, 10, 20, 30, 40, 50),
    "vehicleid": (1, 5),
}
IN_PAPER: tuple[DataName, ...] = ("cub", "cars", "sop")
SETTINGS = "the paper's settings for fine-grained retrieval"
PUBLIC = "Wang et al. 2019 (Multi-Similarity), public code"
STATED = {
    "data.source": SETTINGS,
    "model.backbone": SETTINGS,
    "model.embedding_dim": SETTINGS,
    "batch": f"{SETTINGS}: P = 16, K = 5",
    "ks": "the paper's table 5",
}
CIRCLE_STATED = {"loss.name": SETTINGS, "loss.level": SETTINGS, "loss.margin": SETTINGS, "loss.gamma": SETTINGS}
CHOSEN = {
    "data.size": f"{PUBLIC}: the shorter side to 256",
    "data.fit": f"the centre, so that decoded images have one size; {PUBLIC}, crops from the whole",
    "data.in_memory": "memory: Stanford Online Products, In-Shop and VehicleID would take 20 GB and more",
    "model.size": f"{PUBLIC}: 227",
    "model.crop_share": f"{PUBLIC}: the central 227 of 256 pixels",
    "model.pooling": f"{PUBLIC}: global max pooling",
    "model.head": PUBLIC,
    "model.mean": "of the published weights",
    "model.std": "of the published weights",
    "model.weights": "ImageNet: a file of bn_inception of pretrainedmodels, or --model.pretrained",
    "augment": f"{PUBLIC}: random resized crop, flip",
    "loop.steps": f"{PUBLIC}: 3,000; four times as many for the data sets of more than 10,000 classes or 25,000 images",
    "loop.optimizer": f"{PUBLIC}: Adam, backbone at a tenth, divided by 10 at 1,200 and 2,400 of 3,000",
    "loop.optimizer.warmup": "the library's default: Circle loss begins large",
    "loop.optimizer.clip_norm": "the library's default, against a bad start",
    "loop.optimizer.freeze_batchnorm": f"{PUBLIC}: batch norms frozen",
}
RIVAL_STATED = {key: STATED[key] for key in ("data.source", "ks")}
RIVAL_CHOSEN = {
    "model.backbone": "Wang et al. 2019, whose figures the paper quotes",
    "model.embedding_dim": "Wang et al. 2019, whose figures the paper quotes",
    "batch": "as for Circle loss: P = 16, K = 5",
    "loss": "Wang et al. 2019, whose figures the paper quotes; without its mining of pairs",
}
OUTSIDE = {
    "data.source": "not in the paper; settings as for its retrieval data",
    "ks": "customary for the data",
    "test.draws": "VehicleID's protocol: ten galleries, one image of each vehicle",
}


def retrieval(data: DataName, loss: str) -> Experiment:
    """BN-Inception on a retrieval data set with a pair-wise loss.

    >>> loss = retrieval("cub", "circle").loss
    >>> loss.level, loss.numbers
    ('pair', {'margin': 0.4, 'gamma': 80.0})
    """
    form = PREPROCESSING["bn_inception"]
    small = data in ("cub", "cars")
    return Experiment(
        data=DataConfig(source=SOURCES[data], size=(256, 256), channels=3, fit="crop", in_memory=small),
        model=ModelConfig(
            backbone="bn_inception",
            size=form.size,
            crop_share=form.size[0] / 256,
            pooling="max",
            head="linear",
            embedding_dim=512,
            mean=form.mean,
            std=form.std,
        ),
        loss=LossConfig.of(CircleLoss(margin=0.4, gamma=80.0) if loss == "circle" else MultiSimilarityLoss()),
        batch=BatchConfig(classes=16, samples=5),
        augment=AugmentConfig(flip=True, crop=(0.16, 1.0)),
        loop=LoopConfig(
            steps=3000 if small else 12000,
            optimizer=OptimizerConfig(
                name="adam",
                learning_rate=3e-5,
                backbone_lr_scale=0.1,
                weight_decay=5e-4,
                schedule="step",
                milestones=(0.4, 0.8),
                freeze_batchnorm=True,
            ),
        ),
        test=TestConfig(draws=10 if data == "vehicleid" else 0),
        ks=KS[data],
    )
