"""Models: backbone, pooling and head, pretrained weights, and how to embed with them."""

from circlet.models.backbones import NAMES, backbone
from circlet.models.bn_inception import BNInception
from circlet.models.embedder import Embedder, HeadName
from circlet.models.embedding import embed
from circlet.models.ir_resnet import IRResNet
from circlet.models.mgn import MGN
from circlet.models.pooling import AverageMax, GeM, PoolingName, pooling_layer
from circlet.models.preprocessing import PREPROCESSING, Preprocessing
from circlet.models.resnet import ResNet50
from circlet.models.small import SmallResNet
from circlet.models.views import views
from circlet.models.weights import LoadedWeights, load_weights

__all__ = [
    "MGN",
    "NAMES",
    "PREPROCESSING",
    "AverageMax",
    "BNInception",
    "Embedder",
    "GeM",
    "HeadName",
    "IRResNet",
    "LoadedWeights",
    "PoolingName",
    "Preprocessing",
    "ResNet50",
    "SmallResNet",
    "backbone",
    "embed",
    "load_weights",
    "pooling_layer",
    "views",
]
