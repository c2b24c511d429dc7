"""t-SNE (van der Maaten and Hinton, 2008), exactly: every pair of some thousand points, no tree, on their device.

The settings are scikit-learn's (early exaggeration of 12 for half of the steps, momentum .5 then .8, gains, learning
rate after Belkina et al., 2019), so that its maps are what one knows; time and memory go with the square of the points,
a thousand take some seconds on a CPU.
"""

import math

import torch
from torch import Tensor

STEPS, EARLY = 500, 250
EXAGGERATION = 12.0
_SPREAD = 1e-4  # of the start
_HALVINGS = 40
_ROWS = 128


@torch.no_grad()
def tsne(rows: Tensor, *, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """(n, 2) places of (n, dim) floats, in which near ones are near; distances between far ones mean little.

    >>> tsne(torch.eye(3).repeat_interleave(4, dim=0)).shape
    torch.Size([12, 2])

    perplexity: how many neighbours a point has, roughly; at most a third of the others count. Places depend on the
    rows, `seed` and rounding alone.
    """
    rows, number = rows.float(), len(rows)
    shares = neighbour_shares(squared_distances(rows, rows), min(perplexity, (number - 1) / 3))
    alike = (shares + shares.T) / (2 * number)
    start = torch.randn(number, 2, generator=torch.Generator().manual_seed(seed))
    places = (_SPREAD * start).to(alike.device)
    rate = max(number / EXAGGERATION / 4, 50.0)
    velocity, gains = torch.zeros_like(places), torch.ones_like(places)
    for step in range(STEPS):
        early = step < EARLY
        slope = _gradient(alike, places, EXAGGERATION if early else 1.0)
        gains = torch.where(slope * velocity < 0, gains + 0.2, gains * 0.8).clamp_(min=0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * slope
        places = places + velocity
    return places


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """(n, m) squared Euclidean distances of (n, dim) and (m, dim) rows, at least 0."""
    squares = rows.square().sum(1)[:, None] + others.square().sum(1)
    return torch.addmm(squares, rows, others.T, alpha=-2).clamp_(min=0)


def neighbour_shares(distances: Tensor, perplexity: float) -> Tensor:
    """(n, n) how likely each point is to take each other one for its neighbour: a Gaussian around every point.

    distances: (n, n), squared. The widths are such that each row has the wanted perplexity, exp of its entropy; where
    no width has, as among equal points, that of the last of 40 halvings.
    """
    others = ~torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    distances = distances - distances.masked_fill(~others, math.inf).amin(1, keepdim=True)
    distances.clamp_(min=0)  # of the point itself; that of the nearest is 0 too
    low = torch.zeros(len(distances), 1, device=distances.device)
    high = torch.full_like(low, math.inf)
    beta = torch.ones_like(low) / distances.masked_fill(~others, 0).mean(1, keepdim=True).clamp(min=1e-12)
    for _ in range(_HALVINGS):
        weights = torch.exp(-beta * distances) * others
        total = weights.sum(1, keepdim=True)
        entropy = total.log() + beta * (weights * distances).sum(1, keepdim=True) / total
        flat = entropy > math.log(perplexity)
        low, high = torch.where(flat, beta, low), torch.where(flat, high, beta)
        beta = torch.where(high.isinf(), 2 * low, (low + high) / 2)
    weights = torch.exp(-beta * distances) * others
    return weights / weights.sum(1, keepdim=True)


def _gradient(alike: Tensor, places: Tensor, exaggeration: float) -> Tensor:
    """Of the Kullback-Leibler divergence of the two distributions over pairs, some rows at a time, which stay in cache.

    4 sum_j (p_ij - q_ij) n_ij (y_i - y_j), n_ij = 1 / (1 + |y_i - y_j|^2), q = n / sum n. Where i = j it is 0.
    """
    beside = torch.cat([places, torch.ones_like(places[:, :1])], 1)  # the last column sums up
    pull, push, total = torch.empty_like(beside), torch.empty_like(beside), torch.zeros((), device=places.device)
    for start in range(0, len(places), _ROWS):
        own = slice(start, start + _ROWS)
        near = squared_distances(places[own], places).add_(1).reciprocal_()
        total += near.sum() - near.diagonal(start).sum()
        pull[own] = (alike[own] * near) @ beside
        push[own] = near.square_() @ beside
    sides = exaggeration * pull - push / total
    return 4 * (sides[:, 2:] * places - sides[:, :2])
