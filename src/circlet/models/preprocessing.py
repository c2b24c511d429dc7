"""What each backbone expects of its images: size, mean, standard deviation, interpolation, crop.

As its published weights or its recipe have them. Channels are red, green, blue everywhere; `BNInception` turns them
round itself. "small" has no published weights and takes what its data need.
"""

from statistics import mean
from typing import Any, Literal, NamedTuple, get_args

from torch import nn

from circlet.models.timm_sources import find_source

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class Preprocessing(NamedTuple):
    """Size (height, width), and mean and standard deviation of each channel of images in 0 to 1.

    interpolation: when resized. crop_share: of the side of the resized image, which is seen, about its centre.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    crop_share: float = 1.0


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FACE = Preprocessing((112, 112), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_LITE = Preprocessing((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.875)
PREPROCESSING = {
    "ir_resnet18": _FACE,
    "ir_resnet34": _FACE,
    "ir_resnet50": _FACE,
    "ir_resnet100": _FACE,
    "resnet50": Preprocessing((256, 128), IMAGENET_MEAN, IMAGENET_STD),
    "mgn": Preprocessing((384, 128), IMAGENET_MEAN, IMAGENET_STD),
    "bn_inception": Preprocessing(
        (227, 227), mean=(128 / 255, 117 / 255, 104 / 255), std=(1 / 255,) * 3, crop_share=227 / 256
    ),
    "efficientnet_lite0": _LITE,
    "efficientnet_lite1": _LITE._replace(size=(240, 240)),
    "efficientnet_lite2": _LITE._replace(size=(260, 260)),
}


def preprocessing_of(name: str, network: nn.Module | None = None, *, channels: int = 3) -> Preprocessing | None:
    """What the backbone `name` expects; None for one that expects nothing: "small", your own.

    >>> preprocessing_of("efficientnet_lite1").size, preprocessing_of("small")
    ((240, 240), None)

    A network of timm is what its weights were made with. It need not be built: `network`, if it is, saves the look at
    timm's list, the folder, or the hub, which is asked for timm/hf-hub:owner/name. channels: with another number than
    the weights have, such as 1, mean and standard deviation are one number, the mean over theirs.

    Raises what `backbone` does for a name that timm does not know, a hub out of reach, and no timm.
    """
    if name.startswith("timm/") and name != "timm/":
        config: Any = getattr(network, "pretrained_cfg", None) or find_source(name, fetch=True).config
        found = _of_timm(config)
    elif name in PREPROCESSING:
        found = PREPROCESSING[name]
    else:
        return None
    if len(found.mean) == channels:
        return found
    return found._replace(mean=(mean(found.mean),), std=(mean(found.std),))


def _of_timm(config: dict[str, Any]) -> Preprocessing:
    """The pretrained configuration of timm; what it lacks is as `timm.data.resolve_data_config` has it."""
    known: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}
    height, width = config.get("input_size", (3, 224, 224))[1:]
    return Preprocessing(
        (height, width),
        mean=tuple(config.get("mean") or IMAGENET_MEAN),
        std=tuple(config.get("std") or IMAGENET_STD),
        interpolation=known.get(config.get("interpolation", ""), "bicubic"),  # "random" is
        crop_share=min(float(config.get("crop_pct") or 0.875), 1.0),
    )
