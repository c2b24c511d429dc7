"""IR-ResNet, the residual network of face recognition (Deng et al., ArcFace, CVPR 2019, section 3.1).

Tensors have the names of insightface's PyTorch models, so its weight files load. Blocks are BN, 3x3 convolution, BN,
PReLU, 3x3 convolution, BN; there is no max-pooling, and the embedding is made by BN, dropout, a linear layer and BN.

Differs from those models: convolutions start as in He et al. 2015, by their fan-out, not with a deviation of .1, with
which a deep network that has not been trained yet overflows in evaluation mode.
"""

from typing import Literal, get_args

from torch import Tensor, nn

from circlet.models.resnet import initialize

Depth = Literal[18, 34, 50, 100]
BLOCKS: dict[Depth, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
}
SIDE = 112


class IRBlock(nn.Module):
    """Two 3x3 convolutions, the second with the stride, beside the identity; no activation after the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.prelu = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, out_channels, height / stride, width / stride)."""
        inner = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y: Tensor = self.bn3(self.conv2(inner)) + (x if self.downsample is None else self.downsample(x))
        return y


class IRResNet(nn.Module):
    """Aligned faces (batch, channels, 112, 112) to embeddings (batch, embedding_dim).

    >>> import torch
    >>> with torch.device("meta"):
    ...     IRResNet(34)(torch.empty(2, 3, 112, 112)).shape
    torch.Size([2, 512])

    depth: 18, 34, 50 or 100. dropout: before the linear layer. The last batch norm has a scale of 1 that does not
    learn: for the cosine a common scale would mean nothing, and insightface's has none for each feature either.
    """

    def __init__(self, depth: Depth, channels: int = 3, *, embedding_dim: int = 512, dropout: float = 0.0) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth: found {depth}, expected one of {get_args(Depth)}")
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        first, second, third, fourth = BLOCKS[depth]
        self.layer1 = _stage(64, 64, first)
        self.layer2 = _stage(64, 128, second)
        self.layer3 = _stage(128, 256, third)
        self.layer4 = _stage(256, 512, fourth)
        self.bn2 = nn.BatchNorm2d(512)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(512 * (SIDE // 16) ** 2, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)
        self.features.weight.requires_grad_(False)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, 112, 112) -> (batch, embedding_dim)."""
        if x.shape[2:] != (SIDE, SIDE):
            raise ValueError(f"images: found {x.shape[2]} x {x.shape[3]} pixels, expected {SIDE} x {SIDE}")
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embeddings: Tensor = self.features(self.fc(self.dropout(self.bn2(x).flatten(1))))
        return embeddings


def _stage(in_channels: int, out_channels: int, blocks: int) -> nn.Sequential:
    rest = (IRBlock(out_channels, out_channels) for _ in range(blocks - 1))
    return nn.Sequential(IRBlock(in_channels, out_channels, stride=2), *rest)
