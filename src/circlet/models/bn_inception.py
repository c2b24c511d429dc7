"""BN-Inception: Inception with batch norm (Ioffe and Szegedy, ICML 2015), the backbone of the retrieval benchmarks.

Tensors have the names of pretrainedmodels' "bninception", so the well-known bn_inception weight file, converted from
Caffe, loads. That network expects blue, green, red, from 0 to 255, less the mean (104, 117, 128): images come in here
as everywhere, red, green, blue, and `PREPROCESSING["bn_inception"]` has the mean and standard deviation for images of 0
to 1; the order of the channels is turned round inside.

Differs from pretrainedmodels: batch norm has a momentum of .1, not .9 (torch and Caffe count it from opposite
ends). There is no classifier.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Widths(NamedTuple):
    """Output channels in one inception block; 0 for `single` and `pool`: the block halves the maps and lacks these."""

    single: int
    reduce: int
    triple: int
    double_reduce: int
    double: int
    pool: int


BLOCKS = {
    "3a": Widths(64, 64, 64, 64, 96, 32),
    "3b": Widths(64, 64, 96, 64, 96, 64),
    "3c": Widths(0, 128, 160, 64, 96, 0),
    "4a": Widths(224, 64, 96, 96, 128, 128),
    "4b": Widths(192, 96, 128, 96, 128, 128),
    "4c": Widths(160, 128, 160, 128, 160, 128),
    "4d": Widths(96, 128, 192, 160, 192, 128),
    "4e": Widths(0, 128, 192, 192, 256, 0),
    "5a": Widths(352, 192, 320, 160, 224, 128),
    "5b": Widths(352, 192, 320, 192, 224, 128),
}


class BNInception(nn.Module):
    """Images (batch, channels, height, width) to feature maps (batch, 1024, height / 32, width / 32).

    >>> with torch.device("meta"):
    ...     BNInception()(torch.empty(2, 3, 227, 227)).shape
    torch.Size([2, 1024, 7, 7])

    The maps must have an even height and width before they are halved, as for images of 224, 227 or 256 pixels.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self._add("conv1_7x7_s2", channels, 64, kernel=7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64, kernel=1)
        self._add("conv2_3x3", 64, 192, kernel=3)
        width = 192
        for block, widths in BLOCKS.items():
            name, stride = f"inception_{block}", 1 if widths.single else 2
            if widths.single:
                self._add(f"{name}_1x1", width, widths.single, kernel=1)
            self._add(f"{name}_3x3_reduce", width, widths.reduce, kernel=1)
            self._add(f"{name}_3x3", widths.reduce, widths.triple, kernel=3, stride=stride)
            self._add(f"{name}_double_3x3_reduce", width, widths.double_reduce, kernel=1)
            self._add(f"{name}_double_3x3_1", widths.double_reduce, widths.double, kernel=3)
            self._add(f"{name}_double_3x3_2", widths.double, widths.double, kernel=3, stride=stride)
            if widths.single:
                self._add(f"{name}_pool_proj", width, widths.pool, kernel=1)
            width = widths.single + widths.triple + widths.double + (widths.pool or width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, 1024, height / 32, width / 32)."""
        x = self._unit("conv1_7x7_s2", x.flip(1))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        x = self._unit("conv2_3x3", self._unit("conv2_3x3_reduce", x))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        for block in BLOCKS:
            x = self._block(block, x)
        return x

    def _block(self, block: str, x: Tensor) -> Tensor:
        name = f"inception_{block}"
        triple = self._unit(f"{name}_3x3", self._unit(f"{name}_3x3_reduce", x))
        double = self._unit(f"{name}_double_3x3_1", self._unit(f"{name}_double_3x3_reduce", x))
        double = self._unit(f"{name}_double_3x3_2", double)
        if not BLOCKS[block].single:
            if x.shape[2] % 2 or x.shape[3] % 2:
                raise ValueError(f"images: found a size that makes maps of {x.shape[2]} x {x.shape[3]} before {name}, "
                                 "expected even ones, as images of 224, 227 or 256 pixels make them")  # fmt: skip
            return torch.cat([triple, double, F.max_pool2d(x, 3, stride=2, ceil_mode=True)], 1)
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if block == "5b" else F.avg_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([self._unit(f"{name}_1x1", x), triple, double, self._unit(f"{name}_pool_proj", pooled)], 1)

    def _add(self, name: str, in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        self.add_module(name, conv)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(out_channels))

    def _unit(self, name: str, x: Tensor) -> Tensor:
        """Convolution, batch norm, ReLU."""
        norm: nn.Module = getattr(self, f"{name}_bn")
        y: Tensor = norm(getattr(self, name)(x))
        return y.relu()
