"""What each backbone expects of its images: the size, mean and standard deviation of its published weights or recipe.

Channels are red, green, blue everywhere; `BNInception` turns them round itself. For a model of timm see
`timm.get_pretrained_cfg`. "small" has no published weights and takes what its data need.
"""

from typing import NamedTuple


class Preprocessing(NamedTuple):
    """Size (height, width), and mean and standard deviation of each channel of images in 0 to 1."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FACE = Preprocessing((112, 112), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
PREPROCESSING = {
    "ir_resnet18": _FACE,
    "ir_resnet34": _FACE,
    "ir_resnet50": _FACE,
    "ir_resnet100": _FACE,
    "resnet50": Preprocessing((256, 128), IMAGENET_MEAN, IMAGENET_STD),
    "mgn": Preprocessing((384, 128), IMAGENET_MEAN, IMAGENET_STD),
    "bn_inception": Preprocessing((227, 227), mean=(128 / 255, 117 / 255, 104 / 255), std=(1 / 255, 1 / 255, 1 / 255)),
}
