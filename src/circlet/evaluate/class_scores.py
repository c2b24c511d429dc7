"""How similar probes are to enrolled classes: to their own, to the nearest other, and at which rank their own is.

The score of a class is the highest cosine similarity among its enrolled images. The similarities are made in tiles; the
scores of all classes are looked at only for probes that find another class before their own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.evaluate.neighbours import row_blocks, similarity_rows, similarity_tiles


class ClassScores(NamedTuple):
    """Of each of n probes, on the CPU.

    own: (n,) float64, the score of its own class; -inf where none of its images is enrolled. other: (n,) float64, the
    highest score of another class; -inf where there is none. rank: (n,) int64, the place of its own class among all
    enrolled ones, from 1; of classes that tie, every other one comes first. 0 where its own class is not enrolled.
    """

    own: Tensor
    other: Tensor
    rank: Tensor


@torch.no_grad()
def class_scores(
    probes: Tensor,
    labels: Tensor,
    gallery: Tensor | None,
    gallery_labels: Tensor,
    *,
    groups: Tensor | None = None,
    gallery_groups: Tensor | None = None,
    block_size: int = 2048,
) -> ClassScores:
    """Scores of unit rows (n, dim) against enrolled unit rows (m, dim), or against all the others (`gallery` None).

    >>> rows = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
    >>> found = class_scores(rows, torch.tensor([0, 0, 1, 1]), None, torch.tensor([0, 0, 1, 1]))
    >>> [round(x, 2) for x in found.own.tolist()], [round(x, 2) for x in found.other.tolist()], found.rank.tolist()
    ([0.8, 0.8, 0.8, 0.8], [0.6, 0.96, 0.6, 0.96], [1, 2, 1, 2])

    labels: (n,) int64. gallery_labels: (m,) int64; without a gallery the probes' own. groups, gallery_groups: (n,) and
    (m,) int64: a probe passes over the images of its own group, as over itself. None: each image is one of its own.

    Extra memory: a few tiles of block_size^2 similarities.
    """
    own, other = (probes.new_full((len(probes),), -torch.inf) for _ in range(2))
    with torch.autocast(probes.device.type, enabled=False):
        for rows, columns, tile in similarity_tiles(probes, gallery, block_size):
            same = labels[rows, None] == gallery_labels[columns]
            own_part = tile.masked_fill(~same, -torch.inf)
            if gallery is None and rows == columns:
                own_part.fill_diagonal_(-torch.inf)
            other_part = tile.masked_fill(same, -torch.inf)
            if groups is not None and gallery_groups is not None:
                passed = groups[rows, None] == gallery_groups[columns]
                own_part.masked_fill_(passed, -torch.inf)
                other_part.masked_fill_(passed, -torch.inf)
            own[rows] = torch.maximum(own[rows], own_part.amax(1))
            other[rows] = torch.maximum(other[rows], other_part.amax(1))
        rank = own.isfinite().long()
        behind = ((other >= own) & own.isfinite()).nonzero().squeeze(1)
        classes, item_class = gallery_labels.unique(return_inverse=True)
        for part in row_blocks(len(behind), len(gallery_labels), block_size):
            chosen = behind[part]
            similarities = similarity_rows(probes, gallery, chosen, block_size=block_size)
            if groups is not None and gallery_groups is not None:
                similarities.masked_fill_(groups[chosen, None] == gallery_groups, -torch.inf)
            scores = similarities.new_full((len(chosen), len(classes)), -torch.inf)
            scores.scatter_reduce_(1, item_class.expand_as(similarities), similarities, "amax")
            of_own = scores.gather(1, torch.searchsorted(classes, labels[chosen])[:, None])
            rank[chosen] = (scores >= of_own).sum(1)  # its own class is one of them
    return ClassScores(own.double().cpu(), other.double().cpu(), rank.cpu())
