"""Positives: which pairs of a tile are positive, and which tiles need to ask.

With anchors and references sorted by label, the positives of anchor i are a *range* [low_i, high_i) of references,
and both ends grow with i. So the anchors that meet a positive among columns [c, d) are a range too; all other
rows of that tile are negative and need no mask. A boolean mask instead of labels makes every tile mixed.

Where each anchor has a few positives only, a tile is negative as a whole, but for its `Holes`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.native import Ranges
from circlet.similarity.pairs import Pairs


def sort_by_label(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Order that sorts the labels, and the sorted labels."""
    sorted_labels, order = labels.sort(stable=True)
    return order, sorted_labels


def ranges(labels: Tensor, reference_labels: Tensor) -> Tensor:
    """(2, batch) low and high end of each anchor's positives among the *sorted* references."""
    return torch.stack(
        [torch.searchsorted(reference_labels, labels), torch.searchsorted(reference_labels, labels, right=True)]
    )


def sorted_positives(pairs: Pairs) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Order of the anchors and of the references (None: as they are), then `ranges` or the mask, for `Positives`."""
    if pairs.positive_mask is not None:
        return None, None, None, pairs.positive_mask
    assert pairs.labels is not None
    x_order, labels = sort_by_label(pairs.labels)
    if pairs.references is None:
        return x_order, x_order, ranges(labels, labels), None
    assert pairs.reference_labels is not None
    y_order, reference_labels = None, pairs.reference_labels
    # Class weights come sorted, and need no gathering. (Compiled code cannot look.)
    if torch.compiler.is_compiling() or bool((reference_labels[1:] < reference_labels[:-1]).any()):
        y_order, reference_labels = sort_by_label(reference_labels)
    dtype = torch.promote_types(labels.dtype, reference_labels.dtype)
    return x_order, y_order, ranges(labels.to(dtype), reference_labels.to(dtype).contiguous()), None


FEW = 64  # positives of an anchor, itself included, up to which holes are faster than masks


class Holes(NamedTuple):
    """The pairs of a block that are not negative, of the n anchors that have any there; at most K of each.

    rows: (n,) anchors. columns: (n, K) references, the last one of an anchor repeated. places: both, counted from
    where the block begins. positive: (n, K), neither repeated nor own. own: (n, K), the anchor with itself, or None.
    """

    rows: Tensor
    columns: Tensor
    places: tuple[Tensor, Tensor]
    positive: Tensor
    own: Tensor | None


class Piece(NamedTuple):
    """Rows [first, last) of a block: of any kind, if there are masks (as of `masks`); else negative but for `holes`."""

    first: int
    last: int
    masks: tuple[Tensor, Tensor] | None


class Positives:
    """Positive and negative pairs by `ranges` (2, batch) of sorted labels or by a `mask` (batch, num_references).

    own: the references are the anchors, and the pair of a row with itself is neither. most: positives of any anchor,
    itself included. few: they are at most `FEW`.
    """

    def __init__(self, ranges: Tensor | None, mask: Tensor | None, *, own: bool) -> None:
        assert (ranges is None) != (mask is None)
        self.mask, self.own, self.ranges = mask, own, ranges
        self.low, self.high = ([], []) if ranges is None else ranges.tolist()
        counts = [high - low for low, high in zip(self.low, self.high, strict=True)]
        self.most = max(counts, default=0)
        self._met = [row for row, count in enumerate(counts) if count]
        self.few = ranges is not None and self.most <= FEW
        self.for_kernels = None if ranges is None else Ranges(ranges, own=own)

    def pieces(self, a: int, b: int, c: int, d: int) -> Iterator[Piece]:
        """What makes up rows [a, b) of columns [c, d)."""
        if self.few:
            yield Piece(a, b, None)
            return
        first, last = (a, b) if self.ranges is None else self._mixed(a, b, c, d)
        for start, stop, mixed in ((a, first, False), (first, last, True), (last, b, False)):
            if start < stop:
                yield Piece(start, stop, self.masks(start, stop, c, d) if mixed else None)

    def _mixed(self, a: int, b: int, c: int, d: int) -> tuple[int, int]:
        first = min(max(bisect_right(self.high, c), a), b)
        return first, min(max(bisect_left(self.low, d), first), b)

    def holes(self, a: int, b: int, c: int, d: int) -> Holes | None:
        """Those of rows [a, b) of columns [c, d); None: there are none, or more than `FEW`."""
        if not self.few:
            return None
        first, last = (bisect_left(self._met, row) for row in self._mixed(a, b, c, d))
        if first == last:
            return None
        rows, columns, positive, own = (each[first:last] for each in self.all_holes)
        if self.low[self._met[first]] < c or self.high[self._met[last - 1]] > d:
            inside = columns.clamp(c, d - 1)
            positive = positive & (inside == columns)
            columns, own = inside, inside == rows[:, None]
        return Holes(rows, columns, (rows[:, None] - a, columns - c), positive, own if self.own else None)

    @cached_property
    def all_holes(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows, columns, positive and own of the holes of all anchors."""
        assert self.ranges is not None
        rows = torch.tensor(self._met, device=self.ranges.device)
        low, high = self.ranges[:, rows, None]
        columns = low + torch.arange(self.most, device=rows.device)
        counted = columns < high
        columns = torch.minimum(columns, high - 1)
        own = columns == rows[:, None]
        return rows, columns, counted & ~own if self.own else counted, own

    def masks(self, a: int, b: int, c: int, d: int) -> tuple[Tensor, Tensor]:
        """(b - a, d - c) masks of the positive and of the negative pairs."""
        if self.mask is not None:
            positive = self.mask[a:b, c:d]
        else:
            assert self.ranges is not None
            columns = torch.arange(c, d, device=self.ranges.device)
            low, high = self.ranges[:, a:b, None]
            positive = (columns >= low) & (columns < high)
        negative = ~positive
        if self.own and a < d and c < b:
            rows = torch.arange(a, b, device=positive.device)
            other = rows[:, None] != torch.arange(c, d, device=positive.device)
            positive, negative = positive & other, negative & other
        return positive, negative
