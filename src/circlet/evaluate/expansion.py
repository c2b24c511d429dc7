"""Query expansion: a query moves towards its nearest neighbours before it searches again.

Average and alpha-weighted query expansion; re-ranking by reciprocal neighbours is in `circlet.evaluate.rerank`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circlet.evaluate.checks import checked_embeddings, unit_pair, unit_rows
from circlet.evaluate.neighbours import nearest

__all__ = ["expand_queries"]


@torch.no_grad()
def expand_queries(query: Tensor, gallery: Tensor, *, k: int, alpha: float = 3.0, block_size: int = 4096) -> Tensor:
    r"""The query plus its k nearest gallery items, weighted by similarity to the power alpha, scaled to length 1.

    >>> expand_queries(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [-1.0, 0.0]]), k=1, alpha=0)
    tensor([[0.8944, 0.4472]])

        q' = (q + sum_{i<=k} max(0, q.g_i)^alpha g_i) / |...|,    q and g_i unit rows

    alpha=0 is average query expansion (Chum et al., ICCV 2007), where each of the k counts as much as the query
    itself; alpha=3 is the setting of Radenović, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human
    Annotation", 2018, Sec. 3.3.

    query: (n, dim), any float dtype and device; normalised inside, in float32 (float64 for float64).
    gallery: (m, dim), on the same device.
    k: neighbours, from 1 to m; equal similarities rank by gallery index.
    alpha: 0 or more; the larger, the less a far neighbour counts.
    block_size: decides memory and speed, not the result.

    Gives (n, dim) unit rows, for `retrieval` or `reid`.

    Raises ValueError: a wrong shape, dtype or device, an embedding that is not finite, k or alpha out of range.
    """
    checked_embeddings("query", query)
    checked_embeddings("gallery", gallery)
    queries, items = unit_pair("query", query, "gallery", gallery)
    if not 1 <= k <= len(items):
        raise ValueError(f"k: found {k}, expected 1 to {len(items)}, the size of the gallery")
    if not alpha >= 0:
        raise ValueError(f"alpha: found {alpha}, expected 0 or more")
    if block_size < 1:
        raise ValueError(f"block_size: found {block_size}, expected at least 1")
    expanded = queries.clone()
    with torch.autocast(queries.device.type, enabled=False):
        for rows, indices in nearest(queries, items, k, block_size=block_size):
            for place in indices.T:  # the nearest of each row, then the second nearest, ...
                neighbour = items[place]
                weight = (queries[rows] * neighbour).sum(dim=1, keepdim=True).clamp(min=0) ** alpha
                expanded[rows] += weight * neighbour
    return unit_rows(expanded)
