"""Models: backbone, pooling and head, pretrained weights, and how to embed with them.

| file                  | what it is                                                                |
|-----------------------|---------------------------------------------------------------------------|
| embedder              | backbone, pooling and head in one: from images to embeddings              |
| backbones             | the networks by name, timm's, or your own                                 |
| features              | what a backbone must give, and how it is tried                            |
| small, resnet, mgn    | networks for characters and thumbnails, and for person re-identification  |
| bn_inception          | the network of the retrieval benchmarks                                   |
| ir_resnet             | the network for faces                                                     |
| pooling               | from feature maps to a vector                                             |
| preprocessing         | image size, mean and standard deviation that each network expects         |
| weights, published    | pretrained weights: out of a file, and those that are fetched             |
| views                 | what a model sees of an image in testing                                  |
| embedding, embed_sets | embedding batches of images; whole sets, and their raw pixels beside them |
| mode                  | evaluation mode for a while                                               |
"""

from circlet.models.backbones import NAMES, backbone
from circlet.models.bn_inception import BNInception
from circlet.models.embed_sets import Embedded, RawPixels, embed_pixels, embed_test_set
from circlet.models.embedder import Embedder, HeadName
from circlet.models.embedding import embed
from circlet.models.features import OwnBackbone, as_backbone, probe
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
    "OwnBackbone",
    "PoolingName",
    "Preprocessing",
    "RawPixels",
    "ResNet50",
    "SmallResNet",
    "View",
    "as_backbone",
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
