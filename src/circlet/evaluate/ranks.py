"""Where the few positives of a query stand in its ranking of a large gallery, without sorting the gallery.

An entry comes before a positive if it is nearer, or as near and of smaller index. Of the nearer ones only the number
counts, and that follows from how many positives each entry reaches: as far away as they are, or farther. Entries
exactly as far away as a positive are few, mostly the positives themselves, and are sorted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circlet.evaluate.spread import Place, only


def ranks_of_positives(distances: Tensor, positive: Tensor, place: Place | None = None) -> tuple[Tensor, Tensor]:
    """(row, rank) of the entries of `positive`, rank from 1 among the finite distances, ascending within a row.

    >>> distances = torch.tensor([[0.3, 0.1, 0.3, 0.2, torch.inf]])
    >>> ranks_of_positives(distances, torch.tensor([[False, True, True, False, False]]))
    (tensor([0, 0]), tensor([1, 4]))

    Equal distances rank by index. `positive` (rows, columns) marks finite distances. place: which columns are here, if
    the others are on other ranks, that all call this for the same rows; the result is that of all, on all.
    """
    place = only(distances.shape[1]) if place is None else place
    row, column = positive.nonzero(as_tuple=True)
    row, threshold = place.joined(row, distances[row, column])
    row, order = row.sort(stable=True)
    count = row.bincount(minlength=len(distances))
    width = int(count.max())
    if width == 0:
        return row, row
    own = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    thresholds = distances.new_full((len(distances), width), torch.inf)
    thresholds[row, own] = threshold[order]
    thresholds = thresholds.sort(dim=1).values
    num_reached = torch.searchsorted(thresholds, distances, right=True)  # of the positives of this row, ties included

    bins = num_reached + torch.arange(len(distances), device=row.device)[:, None] * (width + 1)
    found = bins.view(-1).bincount(minlength=len(distances) * (width + 1)).view(-1, width + 1)
    num_nearer = place.summed(found).cumsum(1)
    nearest_reached = thresholds.gather(1, num_reached.sub_(1).clamp_(min=0))
    row, column = ((nearest_reached == distances) & distances.isfinite()).nonzero(as_tuple=True)
    group, chosen = place.joined(bins[row, column], positive[row, column])  # a group for each row and distance
    group, order = group.sort(stable=True)  # so within a group by index
    chosen = chosen[order]
    numbers = torch.arange(len(group), device=row.device)
    rank = num_nearer.view(-1)[group - 1] + numbers - torch.searchsorted(group, group) + 1
    return group[chosen].div(width + 1, rounding_mode="floor"), rank[chosen]
