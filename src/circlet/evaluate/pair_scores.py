"""The similarities of all pairs of a set of images: those of one class, and the highest of two, where thresholds lie.

For TAR at FAR where classes are known, with intervals over classes (`pair_intervals`). Lists of pairs are in
`verification` and `templates`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.evaluate.accepting import Accepting, lowest_threshold, num_allowed
from circlet.evaluate.neighbours import similarity_tiles

MAX_PAIRS = 2**23  # looked at: of more, those of a sample of the images
KEPT = 2**18  # pairs between classes that are kept at least, if there are so many
_BINS = 20_000  # of [-1, 1]


@dataclass(frozen=True, eq=False)
class PairScores:
    """Pairs by cosine similarity, descending, float64 on the CPU.

    same: (g,) of one class, and same_class: (g,) which. different: (k,) of two classes, the highest ones, and
    different_classes: (k, 2) which. num_different: how many there are in all. sizes, folds: (classes,) images and fold
    of each class; pairs of two folds are none.
    """

    same: Tensor
    same_class: Tensor
    different: Tensor
    different_classes: Tensor
    num_different: int
    sizes: Tensor
    folds: Tensor

    def threshold_at(self, far: float) -> Accepting:
        """The lowest threshold at which no more than that share of the pairs of two classes is accepted.

        Of a FAR that would accept more pairs than are kept, one that accepts all that are kept but the last.
        """
        allowed = num_allowed(far, self.num_different)
        if len(self.different) < self.num_different:
            allowed = min(allowed, len(self.different) - 1)
        return lowest_threshold(self.different, allowed)

    def far(self, threshold: float) -> float:
        """Share of the pairs of two classes at or above a threshold; one below all that are kept counts these."""
        return int((self.different >= threshold).sum()) / max(self.num_different, 1)

    def tar(self, threshold: float) -> float:
        """Share of the pairs of one class at or above it; nan without any."""
        return float((self.same >= threshold).double().mean())


@torch.no_grad()
def pair_scores(
    rows: Tensor,
    labels: Tensor,
    folds: Tensor | None = None,
    *,
    groups: Tensor | None = None,
    max_pairs: int = MAX_PAIRS,
    seed: int = 0,
) -> PairScores:
    """The pairs among unit rows (n, dim) of classes (n,) int64; with folds (n,), those within each fold.

    >>> rows = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> found = pair_scores(rows, torch.tensor([3, 3, 7]))
    >>> [round(x, 2) for x in found.same.tolist()], [round(x, 2) for x in found.different.tolist()]
    ([0.8], [0.6, 0.0])

    groups: (n,) int64: pairs of one class within a group, such as the same burst, are none. Beyond max_pairs, those of
    a random sample of the images. A class of several folds is one in each.
    """
    folds = torch.zeros_like(labels) if folds is None else folds
    groups = torch.arange(len(labels), device=labels.device) if groups is None else groups
    most = math.isqrt(2 * max_pairs) + 1
    if len(rows) > most:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(rows), generator=generator)[:most].sort().values.to(rows.device)
        rows, labels, folds, groups = rows[chosen], labels[chosen], folds[chosen], groups[chosen]
    pairs, classes = torch.stack([folds, labels], 1).unique(dim=0, return_inverse=True)
    sizes = classes.bincount()
    parts = [_of_fold(*(part[folds == fold] for part in (rows, classes, groups))) for fold in folds.unique()]
    same, same_class, different, of_classes = (torch.cat([part[i] for part in parts]).cpu() for i in range(4))
    number = sum(int(_num_different(sizes[pairs[:, 0] == fold])) for fold in folds.unique())
    order = different.argsort(descending=True)
    ascending = same.argsort(descending=True)
    return PairScores(
        same[ascending].double(), same_class[ascending], different[order].double(), of_classes[order], number,
        sizes.cpu(), pairs[:, 0].cpu(),
    )  # fmt: skip


def _num_different(sizes: Tensor) -> Tensor:
    """Pairs of images of two classes, by how many images each class has, (..., classes)."""
    return (sizes.sum(-1).square() - sizes.square().sum(-1)) // 2


def _of_fold(rows: Tensor, classes: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(similarity, class) of pairs of one class, then (similarity, two classes) of the highest of two."""
    floor = _floor(rows, classes) if len(rows) ** 2 // 2 > 2 * KEPT else 0
    same, same_class, different, of_classes = [], [], [], []
    for first, second, tile, alike in _pairs(rows, classes):
        row, column = (alike & (groups[first, None] != groups[second])).nonzero(as_tuple=True)
        same.append(tile[row, column])
        same_class.append(classes[first][row])
        row, column = ((_bins(tile) >= floor) & ~alike).nonzero(as_tuple=True)
        different.append(tile[row, column])
        of_classes.append(torch.stack([classes[first][row], classes[second][column]], 1))
    return torch.cat(same), torch.cat(same_class), torch.cat(different), torch.cat(of_classes)


def _floor(rows: Tensor, classes: Tensor) -> int:
    """The bin from which on there are KEPT pairs of two classes."""
    counts = torch.zeros(_BINS, dtype=torch.int64)
    for _, _, tile, alike in _pairs(rows, classes):
        counts += torch.bincount(_bins(tile)[~alike].clamp(min=-1) + 1, minlength=_BINS + 1)[1:].cpu()
    from_top = counts.flip(0).cumsum(0)
    return _BINS - 1 - int(torch.searchsorted(from_top, KEPT).clamp(max=_BINS - 1))


def _bins(tile: Tensor) -> Tensor:
    """The bin of each similarity; -1 for -inf."""
    return tile.add(1).mul_(_BINS / 2).clamp_(-1, _BINS - 1).floor_().long()


def _pairs(rows: Tensor, classes: Tensor, block_size: int = 1024) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Yield (rows, columns, tile, whether of one class) with each pair once; what is none is -inf and of no class."""
    with torch.autocast(rows.device.type, enabled=False):
        for first, second, tile in similarity_tiles(rows, None, block_size):
            if second.start < first.start:
                continue
            alike = classes[first, None] == classes[second]
            if first == second:
                below = torch.ones_like(alike).tril_()
                tile, alike = tile.masked_fill(below, -torch.inf), alike & ~below
            yield first, second, tile, alike
