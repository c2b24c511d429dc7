"""Pooling: from a feature map (batch, channels, height, width) to one vector an image.

"own" is what a network was made for. Where that is more than an average (class token, attention), the network does it
itself and gives vectors; see `backbone`.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PoolingName = Literal["own", "average", "max", "average+max", "gem", "flatten"]


class GeM(nn.Module):
    """Generalised mean over the places: (mean x^p)^(1/p), p learned from 3; p = 1 is average, p -> inf max pooling.

    Activations are clamped to at least 1e-6. Source: Radenovic et al., TPAMI 2018, Eq. 3.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels), in fp32."""
        return x.float().clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1.0 / self.p)


class AverageMax(nn.Module):
    """Sum of average and max pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels)."""
        return x.mean(dim=(2, 3)) + x.amax(dim=(2, 3))


class Own(nn.Module):
    """Vectors as they are: their network has pooled them itself; maps averaged, as those that give maps were made for.

    >>> Own()(torch.ones(2, 5)).shape, Own()(torch.ones(2, 5, 7, 7)).shape
    (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels) or (batch, channels, height, width) -> (batch, channels)."""
        return x if x.ndim == 2 else F.adaptive_avg_pool2d(x, 1).flatten(1)


def pooling_layer(name: PoolingName) -> nn.Module:
    """The pooling layer of that name; "flatten" keeps every place, for input of one fixed size."""
    match name:
        case "own":
            return Own()
        case "average":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "max":
            return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        case "average+max":
            return AverageMax()
        case "gem":
            return GeM()
        case "flatten":
            return nn.Flatten()
    raise ValueError(f"pooling: found {name!r}, expected own, average, max, average+max, gem or flatten")
