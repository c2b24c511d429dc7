"""The network of vectors that are given: as they are at first, then a small perceptron beside them.

    x = v / |v| sqrt(dim),    out = x + B gelu(A x + a) + b,    B = b = 0 before any training

So it starts as what it must beat: cosines of its output are those of the given vectors.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from circlet.similarity import unit_rows

VECTORS = "vectors"  # its name as a backbone
_MOST_HIDDEN = 1024


class VectorNetwork(nn.Module):
    """Vectors (batch, dim), or as images (batch, 1, 1, dim), to vectors (batch, dim).

    >>> import torch
    >>> VectorNetwork(2)(torch.tensor([[3.0, 4.0]]))
    tensor([[0.8485, 1.1314]], grad_fn=<AddBackward0>)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = min(2 * dim, _MOST_HIDDEN)
        self.inner, self.outer = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """(batch, dim), of length about sqrt(dim)."""
        x = self.scaled(vectors)
        moved: Tensor = self.outer(F.gelu(self.inner(x)))
        return x + moved

    def scaled(self, vectors: Tensor) -> Tensor:
        """The vectors themselves (batch, dim), each of length sqrt(dim): their numbers are about 1."""
        flat = vectors.flatten(1)
        return unit_rows(flat) * math.sqrt(flat.shape[1])

    @property
    def is_untrained(self) -> bool:
        """Whether it gives the vectors as they are."""
        return not bool(self.outer.weight.any() or self.outer.bias.any())
