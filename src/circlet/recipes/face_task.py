"""Face recognition (the paper's tables 1 to 3): residual networks and class-level labels on MS-Celeb-1M.

The paper trains on its own cleaned list (3.6M images, 79.9K persons), which is not public; MS1MV2 (5.8M, 85.7K) is the
nearest that is. A hundredth of its persons is held out, to test on where no face test set is given.
"""

from typing import Literal

from circlet import losses
from circlet.augment import AugmentConfig
from circlet.experiments.experiment import DataConfig, Experiment, ModelConfig
from circlet.experiments.loss import LossConfig
from circlet.experiments.testing import TestConfig
from circlet.models import PREPROCESSING
from circlet.training import LoopConfig, OptimizerConfig
from circlet.training.image_batches import BatchConfig

Depth = Literal[34, 100]
LOSSES: dict[str, LossConfig] = {
    "circle": LossConfig.of(losses.CircleLoss(margin=0.25, gamma=256.0), "class"),
    "am_softmax": LossConfig.of(losses.AMSoftmaxLoss(margin=0.35, gamma=64.0)),
    "arcface": LossConfig.of(losses.ArcFaceLoss(margin=0.5, gamma=64.0)),
    "normface": LossConfig.of(losses.NormFaceLoss(gamma=64.0)),
    "softmax": LossConfig.of(losses.SoftmaxLoss()),
}
SETTINGS = "the paper's settings for face recognition"
INSIGHTFACE = "insightface's public settings"
STATED = {
    "data.size": f"{SETTINGS}: aligned, 112 x 112",
    "model.backbone": SETTINGS,
    "model.size": SETTINGS,
    "model.embedding_dim": SETTINGS,
    "model.mean": f"{SETTINGS}: -1 to 1",
    "model.std": f"{SETTINGS}: -1 to 1",
    "loss.name": SETTINGS,
    "loss.level": SETTINGS,
    "augment": f"{SETTINGS}: horizontal flip only",
    "loop.steps": SETTINGS,
    "loop.optimizer.learning_rate": SETTINGS,
    "loop.optimizer.schedule": SETTINGS,
    "loop.optimizer.milestones": SETTINGS,
}
NUMBERS_STATED = {"loss.margin": SETTINGS, "loss.gamma": SETTINGS}
NORMFACE_CHOSEN = {"loss.gamma": "as for the paper's other baselines; not stated"}
CHOSEN = {
    "task": "the field's protocols, by test set",
    "data.source": "MS1MV2; the paper's own cleaned list of MS-Celeb-1M is not public",
    "data.test_share": "persons to test on where no face test set is given",
    "data.in_memory": "memory",
    "data.workers": "decoding keeps up with one GPU",
    "model.head": f"{INSIGHTFACE}: the network ends in batch norm, dropout, linear layer, batch norm",
    "model.pooling": f"{INSIGHTFACE}: the network ends in batch norm, dropout, linear layer, batch norm",
    "model.dropout": "Deng et al. 2019 (ArcFace)",
    "batch": f"{INSIGHTFACE}: 512 images",
    "loop.optimizer": f"{INSIGHTFACE}: SGD with momentum 0.9, weight decay 5e-4, gradient norm at most 5; "
    "here Nesterov's momentum, no decay of norms and biases, the class weights' gradient in the norm",
    "loop.optimizer.warmup": "the library's default: Circle loss begins large",
    "test.flip": "the field's protocol: original and mirrored image",
}


def face(depth: Depth, loss: str) -> Experiment:
    """An IR-ResNet on MS1MV2 with class weights, tested on the face sets that have a place.

    >>> face(34, "circle").loss.numbers
    {'margin': 0.25, 'gamma': 256.0}
    """
    name = f"ir_resnet{depth}"
    form = PREPROCESSING[name]
    return Experiment(
        task="face",
        data=DataConfig(source="ms1mv2", size=form.size, channels=3, test_share=0.01, workers=8, in_memory=False),
        model=ModelConfig(
            backbone=name,
            size=form.size,
            pooling="flatten",
            head="none",
            embedding_dim=512,
            dropout=0.4,
            mean=form.mean,
            std=form.std,
        ),
        loss=LOSSES[loss],
        batch=BatchConfig("shuffle", classes=128, samples=4),
        augment=AugmentConfig(flip=True),
        loop=LoopConfig(
            steps=182_000,
            log_every=100,
            checkpoint_every=2000,
            optimizer=OptimizerConfig(
                name="sgd",
                learning_rate=0.1,
                weight_decay=5e-4,
                schedule="step",
                milestones=(0.5, 0.7, 0.9),
                warmup=0.05,
                clip_norm=5.0,
            ),
        ),
        test=TestConfig(flip=True),
        ks=(1,),
    )
