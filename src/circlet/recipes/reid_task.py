"""Person re-identification (the paper's table 4): ResNet-50 or MGN, class-level labels, on Market-1501 and MSMT17.

The paper states networks and loss; schedule, augmentation and neck are those of Luo et al., "A Strong Baseline and
Batch Normalization Neck for Deep Person Re-identification", 2019, without its label smoothing and triplet loss.
"""

from typing import Literal

from circlet.augment import AugmentConfig
from circlet.data.catalogue import DATA_SETS
from circlet.experiments.experiment import DataConfig, Experiment, ModelConfig
from circlet.experiments.loss import LossConfig
from circlet.losses import AMSoftmaxLoss, CircleLoss
from circlet.models import PREPROCESSING
from circlet.training import LoopConfig, OptimizerConfig
from circlet.training.image_batches import BatchConfig

DataName = Literal["market", "msmt17"]
Backbone = Literal["resnet50", "mgn"]
LOSSES = {"circle": CircleLoss(margin=0.25, gamma=128.0), "am_softmax": AMSoftmaxLoss(margin=0.35, gamma=64.0)}
SOURCES: dict[DataName, str] = {"market": "market1501", "msmt17": "msmt17"}
EPOCHS, BATCH = 120, BatchConfig(classes=16, samples=4)
SETTINGS = "the paper's settings for person re-identification"
BASELINE = "Luo et al. 2019 (strong baseline)"
STATED = {
    "data.source": SETTINGS,
    "model.backbone": SETTINGS,
    "loss.name": SETTINGS,
    "loss.level": SETTINGS,
}
CIRCLE_STATED = {"loss.margin": SETTINGS, "loss.gamma": SETTINGS}
AM_CHOSEN = {
    "loss.margin": "the paper's AM-Softmax on faces; not stated for re-ID",
    "loss.gamma": "the paper's AM-Softmax on faces; not stated for re-ID",
}
CHOSEN = {
    "task": "evaluation across cameras, as on Market-1501",
    "data.size": f"{BASELINE}: 256 x 128; MGN 384 x 128, as published",
    "data.in_memory": "memory: MSMT17 would take 12 GB",
    "model.size": f"{BASELINE}: 256 x 128; MGN 384 x 128, as published",
    "model.pooling": f"{BASELINE}: average; MGN pools its parts itself",
    "model.head": f"{BASELINE}: BNNeck; for MGN the parts in one vector, as in the paper",
    "model.embedding_dim": f"{BASELINE}: all 2,048 features",
    "model.mean": "of the published weights",
    "model.std": "of the published weights",
    "model.weights": "ImageNet: a file of ResNet-50 of torchvision or timm, or --model.pretrained",
    "batch": f"{BASELINE}: 16 persons x 4",
    "augment": f"{BASELINE}: flip, pad by 10 and crop, random erasing",
    "loop.steps": f"{BASELINE}: {EPOCHS} epochs",
    "loop.optimizer": f"{BASELINE}: Adam, 10 epochs of warm-up, divided by 10 after 40 and 70",
    "loop.optimizer.weight_decay": f"{BASELINE}; here not on norms and biases",
    "loop.optimizer.clip_norm": "the library's default, against a bad start",
    "test.average_precision": "as torchreid and fast-reid; the official Matlab code's is lower",
}


def reid(data: DataName, backbone: Backbone, loss: str) -> Experiment:
    """A network on a re-ID data set with class weights, tested across cameras.

    >>> reid("market", "resnet50", "circle").loop.steps
    24240
    """
    form = PREPROCESSING[backbone]
    parts = backbone == "mgn"
    source = SOURCES[data]
    per_epoch = DATA_SETS[source].counts["train images"] // (BATCH.classes * BATCH.samples)
    return Experiment(
        task="reid",
        data=DataConfig(source=source, size=form.size, channels=3, in_memory=data == "market"),
        model=ModelConfig(
            backbone=backbone,
            size=form.size,
            pooling="flatten" if parts else "average",
            head="none" if parts else "bnneck",
            embedding_dim=None,
            mean=form.mean,
            std=form.std,
        ),
        loss=LossConfig.of(LOSSES[loss], "class"),
        batch=BATCH,
        augment=AugmentConfig(flip=True, pad=10, erase=0.5, fill=0.0),
        loop=LoopConfig(
            steps=EPOCHS * per_epoch,
            log_every=100,
            checkpoint_every=1000,
            optimizer=OptimizerConfig(
                name="adam",
                learning_rate=3.5e-4,
                weight_decay=5e-4,
                schedule="step",
                milestones=(40 / EPOCHS, 70 / EPOCHS),
                warmup=10 / EPOCHS,
            ),
        ),
        ks=(1, 5, 10),
    )
