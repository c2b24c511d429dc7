"""Models: backbone, pooling and head, and how to embed with them."""

from circlet.models.backbones import backbone
from circlet.models.embedder import Embedder, HeadName
from circlet.models.embedding import embed
from circlet.models.pooling import AverageMax, GeM, PoolingName, pooling_layer
from circlet.models.small import SmallResNet

__all__ = [
    "AverageMax",
    "Embedder",
    "GeM",
    "HeadName",
    "PoolingName",
    "SmallResNet",
    "backbone",
    "embed",
    "pooling_layer",
]
