"""Backbones: the networks of this library and any of timm's (an extra) by name, or one of your own."""

from collections.abc import Callable
from os import PathLike
from typing import Any

from torch import nn

from circlet.extensions import Extensions
from circlet.models.bn_inception import BNInception
from circlet.models.efficientnet_lite import EfficientNetLite
from circlet.models.features import OwnBackbone, as_backbone, probe
from circlet.models.ir_resnet import IRResNet
from circlet.models.mgn import MGN
from circlet.models.pooling import PoolingName
from circlet.models.published import PUBLISHED, load_published
from circlet.models.resnet import ResNet50
from circlet.models.small import SmallResNet
from circlet.models.timm_networks import timm_network
from circlet.models.vector_network import VECTORS, VectorNetwork
from circlet.models.weights import load_weights

NAMES = (
    "small", "ir_resnet18", "ir_resnet34", "ir_resnet50", "ir_resnet100", "resnet50", "mgn", "bn_inception",
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2",
)  # fmt: skip


def _ours() -> dict[str, OwnBackbone]:
    return {}  # a name of ours or of timm's is told apart by `backbone`


EXTENSIONS: Extensions[OwnBackbone] = Extensions("circlet.backbones", "backbone", _ours, as_backbone)


def backbone(
    name: str | nn.Module | Callable[..., nn.Module],
    *,
    channels: int = 3,
    pretrained: bool = False,
    weights: str | PathLike[str] | None = None,
    dropout: float = 0.0,
    image_size: tuple[int, int] | None = None,
    pooling: PoolingName = "average",
    **options: Any,
) -> nn.Module:
    """The backbone `name`: one of `NAMES`, or a network of timm.

    >>> backbone(nn.Conv2d, channels=3, out_channels=8, kernel_size=3)
    Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))

    Names of timm: "timm/<model>", with the tag of its weights if wanted ("timm/vit_small_patch16_224.dino"),
    "timm/hf-hub:owner/name" for a repository of the Hugging Face Hub, "timm/local-dir:path" for a folder that timm has
    saved; nothing in them is run. A name may also be one that an installed package has registered (entry points of the
    group `circlet.backbones`), or `package.module:name`. "ir_resnet..." and "mgn" give embeddings, the others feature
    maps; see the classes. Your own is a module, or a function or class `(channels, **options)` that makes one: from
    normalised images (batch, channels, height, width) to feature maps (batch, features, h, w) or vectors (batch,
    features), finite floats.

    pretrained: load published weights (downloads them): timm's, or those of ImageNet for resnet50, mgn (its ResNet-50)
        and bn_inception. The other networks of this library take them from a file.
    weights: a file for `load_weights`: insightface's for ir_resnet, torchvision's or timm's ResNet-50 of ImageNet for
        resnet50 and mgn, pretrainedmodels' for bn_inception, timm's for timm and efficientnet_lite, or a circlet
        checkpoint.
    dropout: before the last layer of ir_resnet, and for a function of yours that has such a parameter; no other
        backbone has any.
    image_size: (height, width) of the images. A network of timm is made for them. Your own is tried on two at once; a
        ValueError names it where it gives anything else. None: not until an `Embedder` is made of it.
    pooling: what the `Embedder` will do. "own": a network of timm gives vectors, pooled as it was made to; else maps,
        out of tokens too. A function of yours that has such a parameter is told; other networks always give the same.
    options: for your own function.

    "vectors" is no network of images: it takes vectors, as images (1, 1, dim), and gives them as they are until it is
    trained (`circlet.models.vector_network`).

    Raises ImportError without the timm extra, or with a torchvision that does not fit, ValueError for a name that
    neither knows, a size that the network cannot take, and a form of output that is not understood, OSError for a
    download that fails, and what `load_weights` does.
    """
    if pretrained and weights is not None:
        raise ValueError("pretrained: found True with a file of weights, expected one of the two")
    if isinstance(name, str) and name.startswith("timm/") and name != "timm/":
        _no_options(name, options)
        return timm_network(name, channels=channels, pretrained=pretrained, weights=weights, image_size=image_size,
                            own_pooling=pooling == "own")  # fmt: skip
    if isinstance(name, str) and (":" in name or name in EXTENSIONS.registered()):
        name = EXTENSIONS.find(name)
    if name == VECTORS:
        _no_options(VECTORS, options)
        network: nn.Module = _of_vectors(channels, image_size)
    elif isinstance(name, str):
        network = _named(name, channels, pretrained, dropout, options)
        if pretrained and name in PUBLISHED:
            load_published(network, name)
    elif pretrained:
        raise ValueError("pretrained: found True with a backbone of your own, expected a file of weights, or none")
    else:
        own = name if isinstance(name, OwnBackbone) else as_backbone(f"backbone {_called(name)}", name)
        told = {"dropout": dropout, "pooling": pooling}
        network = own(channels, **{option: told[option] for option in told if own.accepts(option)}, **options)
        if image_size is not None:
            probe(network, channels=channels, image_size=image_size, label=own.label)
    if weights is not None:
        load_weights(network, weights)
    return network


def _named(name: str, channels: int, pretrained: bool, dropout: float, options: dict[str, Any]) -> nn.Module:
    """A network of this library."""
    _no_options(name, options)
    if name not in NAMES:
        raise ValueError(f"backbone: found {name!r}, expected one of {', '.join(NAMES)}, or timm/<model>, such as "
                         "timm/resnet50")  # fmt: skip
    if pretrained and name not in PUBLISHED:
        raise ValueError(f"pretrained: found True with backbone {name!r}, expected {', '.join(PUBLISHED)} or "
                         "timm/<model>; insightface's for ir_resnet are given as a file (weights, "
                         "--model.weights)")  # fmt: skip
    return _our_network(name, channels, dropout)


def _of_vectors(channels: int, image_size: tuple[int, int] | None) -> VectorNetwork:
    if channels != 1 or image_size is None or image_size[0] != 1:
        raise ValueError(f"backbone: found {VECTORS} for images {image_size} of {channels} channels, expected it "
                         "for vectors, of 1 x dim in one channel (circlet train vectors)")  # fmt: skip
    return VectorNetwork(image_size[1])


def _no_options(name: str, options: dict[str, Any]) -> None:
    if options:
        raise ValueError(f"{min(options)}: found with backbone {name!r}, expected no options: they are for your own")


def _called(given: object) -> str:
    """What to call a function, a class or a module."""
    where = given if hasattr(given, "__qualname__") else type(given)
    return f"{where.__module__}:{where.__qualname__}"


def _our_network(name: str, channels: int, dropout: float) -> nn.Module:
    match name:
        case "small":
            return SmallResNet(channels)
        case "ir_resnet18":
            return IRResNet(18, channels, dropout=dropout)
        case "ir_resnet34":
            return IRResNet(34, channels, dropout=dropout)
        case "ir_resnet50":
            return IRResNet(50, channels, dropout=dropout)
        case "ir_resnet100":
            return IRResNet(100, channels, dropout=dropout)
        case "resnet50":
            return ResNet50(channels)
        case "mgn":
            return MGN(channels)
        case "bn_inception":
            return BNInception(channels)
        case _:
            assert name.startswith("efficientnet_lite")
            return EfficientNetLite(int(name[-1]), channels)
