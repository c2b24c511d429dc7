"""The maximum in tiles: search the hardest pairs without gradient, then differentiate only those.

The gradient of a maximum goes to one pair, so 2 B similarities are computed again, by autograd, and no matrix is
needed backward. Among equal maxima the first one found gets it all (`dense` shares it among them).

Legend: B batch, C references, D dim.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from circlet.similarity.blocks import BLOCK, GPU_BLOCK, Tile, Tiling
from circlet.similarity.cross import CrossPairs, span, spans
from circlet.similarity.pairs import PairLse, Pairs, Rule
from circlet.similarity.positives import Positives, sorted_positives
from circlet.similarity.rows import compute_dtype, prepare, unit_rows

Search = Callable[[Tensor, Tensor, CrossPairs], tuple[Tensor, Tensor]]


def hardest(pairs: Pairs, rule: Rule, find: Search, *, normalize: bool) -> PairLse:
    """Largest positive and largest negative logit of each anchor; `find`: `hardest_pairs`, or its operator."""
    x = pairs.anchors
    y = x if pairs.references is None else pairs.references
    found = find(x.detach(), y.detach(), CrossPairs(*sorted_positives(pairs), pairs.references is None))
    dtype = compute_dtype(x, y)
    with torch.autocast(x.device.type, enabled=False):
        anchors = unit_rows(x.to(dtype)) if normalize else x.to(dtype)
        chosen = y[torch.cat(found).clamp(min=0)].to(dtype)  # at once: a single gradient of the references
        s_p, s_n = (anchors * (unit_rows(chosen) if normalize else chosen).unflatten(0, (2, -1))).sum(2)
    return PairLse(
        torch.where(found[0] < 0, -torch.inf, rule.positive(s_p)),
        torch.where(found[1] < 0, -torch.inf, rule.negative(s_n)),
    )


def hardest_pairs(
    x: Tensor, y: Tensor, pairs: CrossPairs, rule: Rule, normalize: bool, tiling: Tiling
) -> tuple[Tensor, Tensor]:
    """Indices (B,) of the references with the largest positive and the largest negative logit; -1: none."""
    dtype = compute_dtype(x, y)
    positives = Positives(pairs.ranges, pairs.mask, own=pairs.own)
    anchors = prepare(x, pairs.x_order, dtype, normalize=normalize)
    best = torch.full((2, len(x)), -torch.inf, dtype=dtype, device=x.device)
    index = torch.full((2, len(x)), -1, device=x.device)
    for c, d in spans(len(y), tiling.width):
        references = prepare(y, span(pairs.y_order, c, d), dtype, normalize=normalize)
        for a, b in spans(len(x), tiling.height):
            tile = Tile(a, b, c, d)
            s = anchors.part(a, b).similarities(references)
            for _, _, first, last in tile.blocks(positives, BLOCK if x.device.type == "cpu" else GPU_BLOCK):
                block = s[:, first - c : last - c]
                masks = positives.masks(a, b, first, last)
                for side, logit in enumerate((rule.positive, rule.negative)):
                    top, place = torch.where(masks[side], logit(block), -torch.inf).max(1)
                    better = (top > best[side, a:b]) | top.isnan()
                    best[side, a:b] = torch.where(better, top, best[side, a:b])
                    index[side, a:b] = torch.where(better, place + first, index[side, a:b])
    if pairs.y_order is not None:
        index = torch.where(index < 0, index, pairs.y_order[index.clamp(min=0)])
    if pairs.x_order is not None:
        out = torch.empty_like(index)
        out[:, pairs.x_order] = index
        index = out
    return index[0].clone(), index[1].clone()
