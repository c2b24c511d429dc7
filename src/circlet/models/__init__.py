"""Models: backbone, pooling and head, pretrained weights, and how to embed with them.

| file                  | what it is                                                                |
|-----------------------|---------------------------------------------------------------------------|
| embedder              | backbone, pooling and head in one: from images to embeddings              |
| backbones             | the networks by name, timm's, or your own                                 |
| features              | what a backbone must give, and how it is tried                            |
| small, resnet, mgn    | networks for characters and thumbnails, and for person re-identification  |
| bn_inception          | the network of the retrieval benchmarks                                   |
| efficientnet_lite     | small networks for photographs, whose weights need no hub                 |
| timm_networks, maps   | those of timm: vectors by their own pooling, or maps of what they give    |
| timm_sources          | what a name stands for: timm's list, a repository of the hub, a folder    |
| ir_resnet             | the network for faces                                                     |
| vector_network        | what stands in a network's place where vectors are given                  |
| pooling               | from feature maps to a vector                                             |
| preprocessing         | size, mean, deviation, interpolation and crop that each network expects   |
| weights, published    | pretrained weights: out of a file, and those that are fetched             |
| views                 | what a model sees of an image in testing                                  |
| embedding, embed_sets | embedding batches of images; whole sets, and their raw pixels beside them |
| depth                 | the blocks of a network, from input to output                             |
| low_rank              | low-rank adapters on linear layers and 1x1 convolutions                   |
| mixing                | the weights between before and after fine-tuning                          |
| folding               | batch norms folded into convolutions, for inference                       |
| mode                  | evaluation mode for a while                                               |
"""

from circlet.models.backbones import NAMES, backbone
from circlet.models.bn_inception import BNInception
from circlet.models.depth import blocks_of, depth_of
from circlet.models.efficientnet_lite import EfficientNetLite
from circlet.models.embed_sets import Embedded, RawPixels, batch_size, embed_pixels, embed_test_set
from circlet.models.embedder import Embedder, HeadName
from circlet.models.embedding import embed
from circlet.models.features import OwnBackbone, as_backbone, probe
from circlet.models.folding import folded
from circlet.models.ir_resnet import IRResNet
from circlet.models.low_rank import add_low_rank, merge_low_rank
from circlet.models.mgn import MGN
from circlet.models.mixing import mix_states
from circlet.models.mode import evaluating
from circlet.models.pooling import AverageMax, GeM, PoolingName, pooling_layer
from circlet.models.preprocessing import PREPROCESSING, Interpolation, Preprocessing, preprocessing_of
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
    "EfficientNetLite",
    "Embedded",
    "Embedder",
    "GeM",
    "HeadName",
    "IRResNet",
    "Interpolation",
    "LoadedWeights",
    "OwnBackbone",
    "PoolingName",
    "Preprocessing",
    "RawPixels",
    "ResNet50",
    "SmallResNet",
    "View",
    "add_low_rank",
    "as_backbone",
    "backbone",
    "batch_size",
    "blocks_of",
    "depth_of",
    "embed",
    "embed_pixels",
    "embed_test_set",
    "evaluating",
    "folded",
    "load_weights",
    "merge_low_rank",
    "mix_states",
    "plain_view",
    "pooling_layer",
    "preprocessing_of",
    "probe",
    "views",
]
