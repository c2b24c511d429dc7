"""ResNet-50 (He et al. 2016), in the form of torchvision: tensors have its names, so its weight files load.

The stride of a stage lies in the 3x3 convolution of its first block ("v1.5"). There is no classifier.
"""

from collections import OrderedDict

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside the identity, or beside a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, 4 width, height / stride, width / stride)."""
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        y: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return y


def stage(in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """A stage of `blocks` bottlenecks, the first of them with the stride."""
    rest = (Bottleneck(4 * width, width) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(in_channels, width, stride), *rest)


def early_layers(channels: int) -> OrderedDict[str, nn.Module]:
    """The layers up to the second stage, by name: (batch, channels, h, w) -> (batch, 512, h / 8, w / 8)."""
    return OrderedDict(
        conv1=nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(64),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
        layer1=stage(64, 64, 3, stride=1),
        layer2=stage(256, 128, 4, stride=2),
    )


def initialize(module: nn.Module) -> None:
    """Fill all convolutions from a normal distribution by their fan-out, as He et al. 2015."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


class ResNet50(nn.Sequential):
    """Images (batch, channels, height, width) to feature maps (batch, 2048, height / 16, width / 16).

    >>> import torch
    >>> with torch.device("meta"):
    ...     ResNet50()(torch.empty(2, 3, 256, 128)).shape
    torch.Size([2, 2048, 16, 8])

    last_stride: stride of the last stage. 1 keeps its maps twice as large in each direction, as is usual in person
        re-identification (Sun et al. 2018; Luo et al. 2019); 2 is the network of He et al., and halves them.
    """

    def __init__(self, channels: int = 3, *, last_stride: int = 1) -> None:
        layers = early_layers(channels)
        layers["layer3"] = stage(512, 256, 6, stride=2)
        layers["layer4"] = stage(1024, 512, 3, stride=last_stride)
        super().__init__(layers)
        initialize(self)
