"""The recipe for vectors that you have already: of texts, sounds, tables, or of images by any network.

Class by class they are split as photographs are, and a head is trained on them as on the features of a frozen network:
in closed form, then from there; with --minutes a small network beside them too. What is not better than the given
vectors on training classes held out is left out.
"""

from circlet.experiments.experiment import DataConfig, Experiment, ModelConfig
from circlet.experiments.loss import LossConfig
from circlet.losses import CircleLoss
from circlet.models.vector_network import VECTORS
from circlet.training import LoopConfig, OptimizerConfig
from circlet.training.image_batches import BatchConfig
from circlet.transfer import TransferConfig


def vectors() -> Experiment:
    """Vectors of anything: a Parquet file with columns label and embedding, or .npy with a table beside it."""
    return Experiment(
        recipe="vectors",
        data=DataConfig(source="vectors", size=None, channels=1, fit="vector", validation_share=0.2, workers=0),
        model=ModelConfig(
            backbone=VECTORS,
            pretrained=True,
            size=None,
            pooling="own",
            head="linear",
            embedding_dim=None,
            mean=(0.0,),
            std=(1.0,),
        ),
        loss=LossConfig.of(CircleLoss(margin=0.4, gamma=80.0)),
        batch=BatchConfig(classes=16, samples=5),
        loop=LoopConfig(
            steps=300,
            optimizer=OptimizerConfig(learning_rate=1e-4, backbone_lr_scale=3.0, weight_decay=1e-2, warmup=0.1),
        ),
        transfer=TransferConfig(stages=("closed_form", "head")),
    )
