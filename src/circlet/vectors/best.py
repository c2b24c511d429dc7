"""The k best of each query while similarities come in tiles: the one expensive step beside the products.

All else that finds exact neighbours stands on it: the stores here, and the retrieval metrics of `circlet.evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_GROUP = 32  # similarities looked at together: a group whose maximum is below the k-th best is not looked into


@dataclass
class Best:
    """The k best gallery items so far of a block of queries: (rows, k), by descending value, then by index."""

    values: Tensor
    indices: Tensor

    @staticmethod
    def empty(tile: Tensor, k: int) -> Best:
        """Nothing yet, for the rows of `tile`."""
        shape = (len(tile), k)
        return Best(tile.new_full(shape, -torch.inf), torch.full(shape, -1, device=tile.device))

    def update(self, tile: Tensor, start: int) -> None:
        """Take in the similarities (rows, columns) of gallery items `start`..., all later than those seen.

        Whoever comes later must be strictly better than the k-th best, so ties keep the earlier index.
        """
        k = self.values.shape[1]
        floor = self.values[:, -1]
        if floor.isneginf().any():  # not full yet: the tile's own k-th best is a floor, itself still wanted
            own_floor = tile.topk(min(k, tile.shape[1]), dim=1).values[:, -1]
            floor = torch.maximum(floor, own_floor.nextafter(own_floor.new_tensor(-torch.inf)))
        rows, columns = _above(tile, floor)
        if len(rows) == 0:
            return
        # The candidates of each row side by side, in gallery order, behind what is kept.
        count = rows.bincount(minlength=len(tile))
        place = torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]
        width = int(count.max())
        values = torch.cat([self.values, self.values.new_full((len(tile), width), -torch.inf)], dim=1)
        indices = torch.cat([self.indices, self.indices.new_full((len(tile), width), -1)], dim=1)
        values[rows, k + place] = tile[rows, columns]
        indices[rows, k + place] = start + columns
        values, order = values.sort(dim=1, descending=True, stable=True)
        self.values, self.indices = values[:, :k].contiguous(), indices.gather(1, order[:, :k])


def _above(tile: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns) of the entries of `tile` above `floor` (one per row), in row-major order.

    They are few. So: the maximum of each group of columns first, then only into the groups where it is above.
    """
    if tile.shape[1] % _GROUP:
        rows, columns = (tile > floor[:, None]).nonzero(as_tuple=True)
        return rows, columns
    groups = tile.unflatten(1, (-1, _GROUP))
    # A transposed tile has its rows side by side in memory: reduced in that order it is seven times as fast.
    maxima = groups.amax(dim=2) if tile.stride(1) == 1 else groups.permute(1, 2, 0).amax(dim=1).T
    row, group = (maxima > floor[:, None]).nonzero(as_tuple=True)
    hit, member = (groups[row, group] > floor[row, None]).nonzero(as_tuple=True)
    return row[hit], group[hit] * _GROUP + member
