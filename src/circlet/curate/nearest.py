"""The nearest neighbours of every image among all the others, in tiles: what all findings are made of."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from circlet.data.images import Ints
from circlet.evaluate.neighbours import best_by_tiles
from circlet.similarity import unit_rows

Similarities = npt.NDArray[np.float32]

_TILE = 2048


class Nearest(NamedTuple):
    """similarity, indices: (n, k) cosine with the nearest of each row, best first, and which rows they are."""

    similarity: Similarities
    indices: Ints


@torch.no_grad()
def nearest_of(embeddings: Tensor, k: int) -> Nearest:
    """The k nearest of each row (n, dim) among the others, fewer where there are fewer; equal ones by index.

    >>> found = nearest_of(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]), 1)
    >>> found.indices[:, 0].tolist(), found.similarity[0].tolist()
    ([2, 2, 0], [0.800000011920929])

    n squared products in time; in memory a few tiles of 2048 x 2048, and 12 k bytes a row. ValueError unless k is at
    least 1.
    """
    if k < 1:
        raise ValueError(f"k: found {k}, expected at least 1")
    rows = unit_rows(embeddings.detach().float().cpu())
    k = min(k, len(rows) - 1)
    if k < 1:
        return Nearest(np.zeros((len(rows), 0), np.float32), np.zeros((len(rows), 0), np.int64))
    found = [best for _, best in best_by_tiles(rows, None, k, _TILE)]
    return Nearest(torch.cat([b.values for b in found]).numpy(), torch.cat([b.indices for b in found]).numpy())
