"""Heads in closed form on the features of a frozen network: centring, and whitening within classes.

Whitening makes the directions short in which images of one class differ (pose, light), and those long in which they
agree; with the classes that it was made from it knows nothing of their names, so it holds for unseen ones. It is what
linear discriminant analysis does before it projects (Fukunaga 1990, section 10.2; for retrieval Mikolajczyk and Matas,
ICCV 2007); here nothing is projected away, since unseen classes need the rest.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from circlet.data.images import DataError
from circlet.models import Embedder


class LinearMap(NamedTuple):
    """From features to embeddings: `features @ weight.T + bias`. weight: (dim, features). bias: (dim,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(n, features) -> (n, dim)."""
        return nn.functional.linear(features, self.weight, self.bias)


def unchanged(num_features: int) -> LinearMap:
    """The features as they are: what a network gives before any training."""
    return LinearMap(torch.eye(num_features), torch.zeros(num_features))


class WithinClasses:
    """How the features of classes spread about the means of the classes; made once, for whitenings of any shrinkage.

    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> labels = torch.arange(40) % 8
    >>> features = torch.randn(8, 3)[labels] + torch.randn(40, 3) * torch.tensor([3.0, 1.0, 0.1])
    >>> whitened = WithinClasses(features, labels).whitening(0.0)(features)
    >>> means = torch.stack([whitened[labels == c].mean(0) for c in range(8)])
    >>> covariance = (whitened - means[labels]).T.cov(correction=0)
    >>> torch.allclose(covariance / covariance[0, 0], torch.eye(3), atol=1e-3)
    True

    features: (n, features), finite. labels: (n,) integers. DataError where no class has two images: then nothing
    differs within any.
    """

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        rows = features.double()
        _, index, counts = labels.unique(return_inverse=True, return_counts=True)
        if int(counts.max()) < 2:
            raise DataError(f"labels: found {len(counts)} classes of one image each, expected some with two or more")
        means = torch.zeros(len(counts), rows.shape[1], dtype=rows.dtype).index_add_(0, index, rows)
        spread = rows - (means / counts[:, None])[index]
        self.mean = rows.mean(0)
        self.average = float(spread.square().mean())  # of the diagonal of the covariance
        if len(spread) < spread.shape[1]:  # few images: the directions in which they differ, and no others
            values, combined = torch.linalg.eigh(spread @ spread.T)
            differ = values > 1e-10 * values[-1].clamp(min=0)
            values, combined = values[differ], combined[:, differ]
            self.variances, self.directions = values / len(spread), spread.T @ (combined * values.rsqrt())
        else:
            variances, self.directions = torch.linalg.eigh(spread.T @ spread / len(spread))
            self.variances = variances.clamp(min=0)

    def centring(self) -> LinearMap:
        """Features less the mean over all of them."""
        size = len(self.mean)
        return LinearMap(torch.eye(size), -self.mean.float())

    def whitening(self, shrinkage: float) -> LinearMap:
        """T (x - mean) with T = (S + shrinkage a I)^(-1/2), S the covariance within classes, a its average variance.

        shrinkage: 0 or more; the less, the more S is believed. With 0 a direction in which nothing differs would grow
        without end: it is taken to differ by a millionth of the average. T is scaled so that a direction of average
        variance keeps its length, which changes no cosine.
        """
        if not shrinkage >= 0:
            raise ValueError(f"shrinkage: found {shrinkage}, expected 0 or more")
        least = max(shrinkage, 1e-6) * self.average or 1.0
        unit = (self.average + least) ** 0.5
        rest = unit / least**0.5  # of directions in which nothing differs
        stretched = unit * (self.variances + least).rsqrt() - rest
        whitening = rest * torch.eye(len(self.mean), dtype=self.mean.dtype)
        whitening += (self.directions * stretched) @ self.directions.T
        return LinearMap(whitening.float(), -(whitening @ self.mean).float())


def projected(found: LinearMap, features: Tensor, dim: int) -> LinearMap:
    """The map followed by a projection onto the `dim` directions in which its output differs most (PCA).

    features: (n, features), of which the directions are found. ValueError for a `dim` above that of the map.
    """
    if not 1 <= dim <= len(found.bias):
        raise ValueError(f"embedding_dim: found {dim}, expected 1 to {len(found.bias)}, the number of features")
    rows = found(features).double()
    covariance = (rows - rows.mean(0)).T @ (rows - rows.mean(0))
    directions = torch.linalg.eigh(covariance).eigenvectors[:, -dim:].flip(1).T
    weight, bias = (directions @ part.double() for part in found)
    return LinearMap(weight.float(), bias.float())


def set_head(model: Embedder, head: LinearMap) -> None:
    """Let the model's head, one linear layer, be this map."""
    layer = _only_layer(model)
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        layer.bias.copy_(head.bias)


def head_of(model: Embedder) -> LinearMap:
    """The map that is the model's head, on the CPU."""
    layer = _only_layer(model)
    return LinearMap(layer.weight.detach().cpu().clone(), layer.bias.detach().cpu().clone())


def _only_layer(model: Embedder) -> nn.Linear:
    layers = [layer for layer in model.head.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 1
    return layers[0]
