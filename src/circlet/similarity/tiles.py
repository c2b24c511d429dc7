"""The tiled backend: the same numbers as `dense`, without the (batch, references) matrix.

Chooses the form: `symmetric` for the batch against itself by labels, `cross` for anything else, `hardest` for the
maximum. `Tiling` says how large the tiles are; nobody needs to choose.
"""

from typing import NamedTuple

import torch

from circlet.similarity.hardest import hardest
from circlet.similarity.kept import SLAB_BYTES
from circlet.similarity.kinds import kinds_of, ranges, sort_by_label
from circlet.similarity.operators import cross_lse, symmetric_lse
from circlet.similarity.pairs import PairLse, Pairs, Rule, Statistic
from circlet.similarity.rows import compute_dtype
from circlet.similarity.spec import spec_of


class Tiling(NamedTuple):
    """Rows and columns of a tile, and how many bytes of tiles the forward pass may keep for the backward pass.

    On two cores the products want tiles of about half a million pairs (2 MiB in fp32).
    """

    height: int = 512
    width: int = 1024
    keep_bytes: int = 20 * 2**20


def pair_lse(
    pairs: Pairs,
    rule: Rule,
    *,
    normalize: bool,
    statistic: Statistic = "logsumexp",
    tiling: Tiling = Tiling(),  # noqa: B008
) -> PairLse:
    """As `dense.pair_lse`, in tiles. The rule must have a spec (`spec_of`)."""
    spec = spec_of(rule)
    assert spec is not None
    x, y = pairs.anchors, pairs.references
    if statistic == "max":
        return hardest(pairs, rule, spec, normalize=normalize, height=tiling.height, width=tiling.width)
    differentiable = torch.is_grad_enabled() and (x.requires_grad or (y is not None and y.requires_grad))
    # In compiled code the memory belongs to the compiler.
    keep = tiling.keep_bytes if differentiable and not torch.compiler.is_compiling() else 0
    settings = (*spec, normalize, tiling.height, tiling.width)
    if y is None and pairs.labels is not None:
        order, labels = sort_by_label(pairs.labels)
        lse, _ = symmetric_lse(x, order, ranges(labels, labels), *settings, keep)
        return PairLse(*lse.to(compute_dtype(x)))
    if keep and y is not None and y.requires_grad and y.device.type == "cpu":
        # What is kept gives way, slab by slab, to the gradient of the references: in all a tenth more than that, where
        # memory is taken only when it is written to.
        gradient = y.numel() * compute_dtype(x, y).itemsize
        keep = max(keep, gradient + gradient // 10 - SLAB_BYTES)
    x_order, y_order, positives, mask = kinds_of(pairs)
    references = x if y is None else y
    lse, _ = cross_lse(x, references, x_order, y_order, positives, mask, y is None, *settings, keep)
    return PairLse(*lse.to(compute_dtype(x, references)))
