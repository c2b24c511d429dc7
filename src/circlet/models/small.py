"""A small residual network for small grey or colour images: characters, digits, thumbnails."""

from torch import Tensor, nn


def conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions beside the identity; starts as the identity (the last norm's scale is 0)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same shape."""
        y: Tensor = x + self.norm(self.second(self.first(x)))
        return y.relu()


class SmallResNet(nn.Module):
    """Stem and two residual stages, stride 8 in all: (batch, channels, 32, 32) -> (batch, 2 width, 4, 4).

    With "flatten" pooling the embedding keeps where each stroke lies, which tells characters apart.
    """

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(in_channels, width // 2, stride=2),
            conv(width // 2, width),
            nn.MaxPool2d(2),
            Residual(width),
            conv(width, 2 * width, stride=2),
            Residual(2 * width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, 2 width, height / 8, width / 8)."""
        y: Tensor = self.layers(x)
        return y
