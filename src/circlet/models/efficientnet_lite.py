"""EfficientNet-Lite 0 to 2: small networks for photographs, for processors without a GPU too.

MBConv blocks (Tan and Le, ICML 2019) without squeeze-and-excitation, with ReLU6 and TensorFlow's "same" padding, as
Google published them for small devices (Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020). Tensors
have the names of timm's "tf_efficientnet_lite0", so files of timm load too. There is no classifier.
"""

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Stage(NamedTuple):
    """Blocks alike: how many, and of the first the stride; kernel, expansion and output channels of all."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # of the channels, of the blocks
NUM_FEATURES = 1280


class EfficientNetLite(nn.Module):
    """Images (batch, channels, height, width) to feature maps (batch, 1280, height / 32, width / 32).

    >>> import torch
    >>> with torch.device("meta"):
    ...     EfficientNetLite(0)(torch.empty(2, 3, 224, 224)).shape
    torch.Size([2, 1280, 7, 7])

    number: 0, 1 or 2, with 3.4, 4.1 and 4.8 million parameters, made for images of 224, 240 and 260 pixels.
    """

    def __init__(self, number: int = 0, channels: int = 3) -> None:
        super().__init__()
        if number not in SCALES:
            raise ValueError(f"number: found {number}, expected 0, 1 or 2")
        wider, deeper = SCALES[number]
        self.conv_stem = SameConv2d(channels, 32, 3, stride=2)
        self.bn1 = _norm(32)
        stages, width = [], 32
        for place, stage in enumerate(STAGES):
            at_an_end = place in (0, len(STAGES) - 1)  # the first and the last stage keep their depth
            num_blocks = stage.blocks if at_an_end else math.ceil(stage.blocks * deeper)
            out = _rounded(stage.channels * wider)
            blocks: list[nn.Module] = []
            for block in range(num_blocks):
                stride = stage.stride if block == 0 else 1
                if stage.expansion == 1:
                    blocks.append(Separable(width, out, stage.kernel, stride))
                else:
                    blocks.append(InvertedResidual(width, out, stage.kernel, stride, stage.expansion))
                width = out
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = SameConv2d(width, NUM_FEATURES, 1)
        self.bn2 = _norm(NUM_FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, 1280, height / 32, width / 32), values from 0 to 6."""
        x = F.relu6(self.bn1(self.conv_stem(x)), inplace=True)
        y: Tensor = F.relu6(self.bn2(self.conv_head(self.blocks(x))), inplace=True)
        return y


class SameConv2d(nn.Conv2d):
    """Convolution without bias and with TensorFlow's padding: ceil(size / stride) places, what is odd at the far end.

    >>> import torch
    >>> SameConv2d(1, 1, 3, stride=2)(torch.zeros(1, 1, 8, 7)).shape
    torch.Size([1, 1, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=False, groups=groups)
        if stride == 1:
            self.padding = (kernel // 2, kernel // 2)  # the same on either side: done in the convolution itself
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        if self.stride != (1, 1):
            rows, columns = (self._missing(size) for size in x.shape[2:])
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(x)

    def _missing(self, size: int) -> int:
        kernel, stride = int(self.kernel_size[0]), int(self.stride[0])
        return max((-(-size // stride) - 1) * stride + kernel - size, 0)


class Separable(nn.Module):
    """A filter for each channel, then a mixture of the channels; the first stage's block."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(in_channels, in_channels, kernel, stride=stride, groups=in_channels)
        self.bn1 = _norm(in_channels)
        self.conv_pw = SameConv2d(in_channels, out_channels, 1)
        self.bn2 = _norm(out_channels)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        y: Tensor = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)), inplace=True)))
        return x + y if self.is_residual else y


class InvertedResidual(nn.Module):
    """More channels, a filter for each, and fewer again (Sandler et al., CVPR 2018)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * in_channels
        self.conv_pw = SameConv2d(in_channels, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = SameConv2d(wide, wide, kernel, stride=stride, groups=wide)
        self.bn2 = _norm(wide)
        self.conv_pwl = SameConv2d(wide, out_channels, 1)
        self.bn3 = _norm(out_channels)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        y = F.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        y = F.relu6(self.bn2(self.conv_dw(y)), inplace=True)
        projected: Tensor = self.bn3(self.conv_pwl(y))
        return x + projected if self.is_residual else projected


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # TensorFlow's


def _rounded(channels: float) -> int:
    """To a multiple of 8, never down by more than a tenth.

    >>> [_rounded(1.1 * width) for width in (16, 24, 40, 320)]
    [16, 24, 48, 352]
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
