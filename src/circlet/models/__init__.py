"""Models: backbone, pooling and head, pretrained weights, and how to embed with them."""

from circlet.models.backbones import NAMES, backbone
from circlet.models.bn_inception import BNInception
from circlet.models.embed_sets import Embedded, RawPixels, embed_pixels, embed_test_set
from circlet.models.embedder import Embedder, HeadName
from circlet.models.embedding import embed
from circlet.models.features import probe
from circlet.models.ir_resnet import IRResNet
from circlet.models.mgn import MGN
from circlet.models.pooling import AverageMax, GeM, PoolingName, pooling_layer
from circlet.models.preprocessing import PREPROCESSING, Preprocessing
from circlet.models.resnet import ResNet50
from circlet.models.small import SmallResNet
from circlet.models.views import View, plain_view, views
from circlet.models.weights import LoadedWeights, load_weights

__all__ = [
    "MGN",
    "NAMES",
    "PREPROCESSING",
    "AverageMax",
    "BNInception",
    "Embedded",
    "Embedder",
    "GeM",
    "HeadName",
    "IRResNet",
    "LoadedWeights",
    "PoolingName",
    "Preprocessing",
    "RawPixels",
    "ResNet50",
    "SmallResNet",
    "View",
    "backbone",
    "embed",
    "embed_pixels",
    "embed_test_set",
    "load_weights",
    "plain_view",
    "pooling_layer",
    "probe",
    "views",
]
