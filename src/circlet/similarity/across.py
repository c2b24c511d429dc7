r"""The form over ranks: the own rows of a global batch against all its rows, with nothing to send for the gradient.

Similarity, logits and kinds are symmetric, as in `symmetric`; so once the log-sum-exps of *all* anchors and what
arrives at them are known, with H of `blocks`, the gradient of the own rows needs no other rank:

    dX^_own = H_own,: X^

Forward u = 2 B_own B D FLOPs, backward 2 u. Memory: the own unit rows, their gradient, one tile. Deterministic.
Two plain functions; what is sent between the ranks, and autograd, are not here (see `circlet.references.ranks`).

Legend: B rows of all ranks, D dim. x (B, D); labels (B,); own (first, last) the own rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from circlet.similarity.blocks import Gradient, Scratch, Sums, Tile
from circlet.similarity.cross import spans
from circlet.similarity.curves import Curves
from circlet.similarity.kinds import Kinds, ranges, sort_by_label
from circlet.similarity.pairs import Rule
from circlet.similarity.rows import compute_dtype, prepare, through_norm_

HEIGHT, WIDTH = 512, 1024


class _Layout(NamedTuple):
    """Own rows (B_own,) and all rows (B,), both sorted by label. Columns are numbered on from the own rows."""

    own: Tensor
    everyone: Tensor
    kinds: Kinds

    @classmethod
    def of(cls, labels: Tensor, own: tuple[int, int]) -> "_Layout":
        everyone, sorted_labels = sort_by_label(labels)
        place = ((everyone >= own[0]) & (everyone < own[1])).nonzero()[:, 0]  # of each own row among all
        rows = everyone[place]
        positives = ranges(sorted_labels[place], sorted_labels) + len(rows)
        return cls(rows, everyone, Kinds(positives, None, own=True, selves=place + len(rows)))


def own_lse(x: Tensor, labels: Tensor, own: tuple[int, int], rule: Rule, *, normalize: bool) -> Tensor:
    """Log-sum-exps (2, B_own) of the positives and of the negatives of the own rows, in fp64."""
    with torch.autocast(x.device.type, enabled=False):
        layout, dtype = _Layout.of(labels, own), compute_dtype(x)
        rows = prepare(x, layout.own, dtype, normalize=normalize).unit
        sums = Sums(len(rows), Scratch(dtype, x.device), Curves(rule), layout.kinds)
        for c, d in spans(len(x), WIDTH):
            columns = prepare(x, layout.everyone[c:d], dtype, normalize=normalize).unit
            for a, b in spans(len(rows), HEIGHT):
                sums.add(rows[a:b] @ columns.T, Tile(a, b, len(rows) + c, len(rows) + d), mirrored=False)
        lse = sums.result()
        lse[:, layout.own - own[0]] = lse.clone()
        return lse


def own_gradient(
    x: Tensor, labels: Tensor, own: tuple[int, int], lse: Tensor, grads: Tensor, rule: Rule, *, normalize: bool
) -> Tensor:
    """Gradient of the own rows (B_own, D), in the dtype of x; lse (2, B) of all rows in fp64, and grads (2, B) there."""
    with torch.autocast(x.device.type, enabled=False):
        layout, dtype = _Layout.of(labels, own), compute_dtype(x)
        rows = prepare(x, layout.own, dtype, normalize=normalize)
        both = torch.cat([layout.own, layout.everyone])
        scratch = Scratch(dtype, x.device)
        gradient = Gradient(lse[:, both], grads[:, both].to(dtype), scratch, Curves(rule), layout.kinds)
        total = torch.zeros_like(rows.unit)
        for c, d in spans(len(x), WIDTH):
            columns = prepare(x, layout.everyone[c:d], dtype, normalize=normalize).unit
            for a, b in spans(len(total), HEIGHT):
                h = rows.unit[a:b] @ columns.T
                gradient.write(h, h, Tile(a, b, len(total) + c, len(total) + d), mirrored=True)
                total[a:b].addmm_(h, columns)
        out = x.new_empty(total.shape)
        out[layout.own - own[0]] = through_norm_(total, rows).to(x.dtype)
        return out
