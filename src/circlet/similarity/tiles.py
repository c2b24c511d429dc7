"""The tiled backend: the same numbers as `dense`, without the (batch, references) matrix.

Chooses the form: `symmetric` for the batch against itself by labels, `cross` for anything else, `hardest` for the
maximum. `Tiling` says how large the tiles are; nobody needs to choose.
"""

from functools import partial

import torch

from circlet.similarity.blocks import Tiling, tiling_of
from circlet.similarity.cross import CrossPairs
from circlet.similarity.hardest import hardest
from circlet.similarity.operators import cross_lse, hardest_pairs, symmetric_lse
from circlet.similarity.pairs import PairLse, Pairs, Rule, Statistic
from circlet.similarity.positives import ranges, sort_by_label, sorted_positives
from circlet.similarity.rows import compute_dtype


def pair_lse(
    pairs: Pairs,
    rule: Rule,
    *,
    normalize: bool,
    statistic: Statistic = "logsumexp",
    tiling: Tiling | None = None,
) -> PairLse:
    """As `dense.pair_lse`, in tiles (None: of a size that suits the device).

    In compiled code the rule must have a spec (`spec_of`).
    """
    x, y = pairs.anchors, pairs.references
    tiling = tiling_of(x) if tiling is None else tiling
    if statistic == "max":
        search = partial(hardest_pairs, rule=rule, normalize=normalize, tiling=tiling)
        return hardest(pairs, rule, search, normalize=normalize)
    differentiable = torch.is_grad_enabled() and (x.requires_grad or (y is not None and y.requires_grad))
    keep = tiling.keep_bytes if differentiable else 0
    if y is None and pairs.labels is not None:
        order, labels = sort_by_label(pairs.labels)
        lse = symmetric_lse(x, order, ranges(labels, labels), rule, normalize, tiling._replace(keep_bytes=keep))
        return PairLse(*lse.to(compute_dtype(x)))
    references = x if y is None else y
    met = CrossPairs(*sorted_positives(pairs), y is None)
    lse = cross_lse(x, references, met, rule, normalize, tiling._replace(keep_bytes=keep))
    return PairLse(*lse.to(compute_dtype(x, references)))
