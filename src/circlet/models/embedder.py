"""The embedder: backbone, pooling and head; from images to embeddings."""

from typing import Literal

import torch
from torch import Tensor, nn

from circlet.models.features import probe
from circlet.models.maps import check_pooling
from circlet.models.pooling import Own, PoolingName, pooling_layer

HeadName = Literal["linear", "linear+bn", "bnneck", "none"]


class Embedder(nn.Module):
    """Images (batch, channels, height, width) to embeddings (batch, embedding_dim).

    >>> from circlet.models import SmallResNet
    >>> model = Embedder(SmallResNet(), 16, image_size=(32, 32), channels=1, mean=(0.5,), std=(0.25,))
    >>> model(torch.zeros(2, 1, 32, 32, dtype=torch.uint8)).shape
    torch.Size([2, 16])

    backbone: feature maps (batch, features, h, w) out of normalised images, or vectors (batch, features), which need
        no pooling ("own" or "flatten").
    image_size: (height, width) the backbone will see; fixes the number of features after the pooling.
    pooling: "own": as the backbone was made to, which one of timm must be told too (`backbone`).
    head: "linear": to `embedding_dim` (None: as many as there are features); "linear+bn": then batch norm; "bnneck":
        batch norm with a fixed zero shift between the pooled features and the loss, as in person re-ID (Luo et al.
        2019), after a linear layer unless `embedding_dim` is None; "none": the pooled features themselves.
    dropout: before the head, where there is one.
    mean, std: for each channel, of images in 0 to 1; the image normalised is (image - mean) / std.

    Images may be uint8 (0 to 255) or float (0 to 1). Embeddings are not scaled to unit length: every loss and every
    evaluation on cosine similarity does that itself.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        embedding_dim: int | None,
        *,
        image_size: tuple[int, int],
        channels: int = 3,
        pooling: PoolingName = "average",
        head: HeadName = "linear",
        dropout: float = 0.0,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        self.channels = channels
        self.image_size = image_size
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise ValueError(f"{name}: found {len(values)} values, expected 1 or {channels}, one for each channel")
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        check_pooling(backbone, pooling)
        self.backbone = backbone
        self.pooling = pooling_layer(pooling)
        num_features = self._num_features()
        self.embedding_dim = num_features if embedding_dim is None or head == "none" else embedding_dim
        project = embedding_dim is not None or head in ("linear", "linear+bn")
        self.head = _head(head, num_features, self.embedding_dim, dropout, project=project)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of `images`: (batch, channels, height, width), uint8 0 to 255 or float 0 to 1."""
        embeddings: Tensor = self.head(self.features(images))
        return embeddings

    def features(self, images: Tensor) -> Tensor:
        """What the head is given: pooled features (batch, features), of images as in `forward`."""
        pooled: Tensor = self.pooling(self.backbone(self.normalized(images)))
        return pooled

    def normalized(self, images: Tensor) -> Tensor:
        """The images as the backbone sees them."""
        x = images.to(self.mean.dtype) / 255 if images.dtype == torch.uint8 else images
        return (x - self.mean) / self.std

    def _num_features(self) -> int:
        """Width of the pooled features, found by a forward pass."""
        features = probe(self.backbone, channels=self.channels, image_size=self.image_size)
        if features.ndim == 2 and not isinstance(self.pooling, Own | nn.Flatten):
            raise ValueError(f"pooling: found a layer for feature maps, expected own or flatten: the backbone gives "
                             f"vectors {tuple(features.shape)}")  # fmt: skip
        with torch.no_grad():
            return int(self.pooling.to(features.device)(features).shape[1])


def _head(name: HeadName, num_features: int, embedding_dim: int, dropout: float, *, project: bool) -> nn.Module:
    layers: list[nn.Module] = []
    if dropout and name != "none":
        layers.append(nn.Dropout(dropout))
    if project and name != "none":
        layers.append(nn.Linear(num_features, embedding_dim, bias=name == "linear"))
    if name in ("linear+bn", "bnneck"):
        norm = nn.BatchNorm1d(embedding_dim)
        if name == "bnneck":
            norm.bias.requires_grad_(False)
        layers.append(norm)
    return nn.Sequential(*layers)
