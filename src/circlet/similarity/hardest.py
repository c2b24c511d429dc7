"""The maximum in tiles: search the hardest pairs without gradient, then differentiate only those.

The gradient of a maximum goes to one pair, so 2 B similarities are computed again, by autograd, and no matrix is
needed backward. Among equal maxima the first one found gets it all (`dense` shares it among them).

Legend: B batch, C references, D dim.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from circlet.similarity.blocks import Tile
from circlet.similarity.cross import span, spans
from circlet.similarity.dense import unit_rows
from circlet.similarity.kinds import Kinds, kinds_of
from circlet.similarity.pairs import PairLse, Pairs, Rule
from circlet.similarity.rows import compute_dtype, prepare
from circlet.similarity.spec import RuleSpec, rule_of


def hardest(pairs: Pairs, rule: Rule, spec: RuleSpec, *, normalize: bool, height: int, width: int) -> PairLse:
    """Largest positive and largest negative logit of each anchor."""
    x = pairs.anchors
    y = x if pairs.references is None else pairs.references
    found = hardest_pairs(
        x.detach(), y.detach(), *kinds_of(pairs), pairs.references is None, *spec, normalize, height, width
    )
    dtype = compute_dtype(x, y)
    with torch.autocast(x.device.type, enabled=False):
        anchors = unit_rows(x.to(dtype)) if normalize else x.to(dtype)
        chosen = y[torch.cat(found).clamp(min=0)].to(dtype)  # at once: a single gradient of the references
        s_p, s_n = (anchors * (unit_rows(chosen) if normalize else chosen).unflatten(0, (2, -1))).sum(2)
    return PairLse(
        torch.where(found[0] < 0, -torch.inf, rule.positive(s_p)),
        torch.where(found[1] < 0, -torch.inf, rule.negative(s_n)),
    )


@torch.library.custom_op("circlet::hardest_pairs", mutates_args=())
def hardest_pairs(
    x: Tensor,
    y: Tensor,
    x_order: Tensor | None,
    y_order: Tensor | None,
    ranges: Tensor | None,
    mask: Tensor | None,
    own: bool,
    rule: str,
    numbers: Sequence[float],
    normalize: bool,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    """Indices (B,) of the references with the largest positive and the largest negative logit; -1: none."""
    with torch.autocast(x.device.type, enabled=False):
        dtype = compute_dtype(x, y)
        built = rule_of(rule, list(numbers))
        kinds = Kinds(ranges, mask, own=own)
        anchors = prepare(x, x_order, dtype, normalize=normalize).unit
        best = torch.full((2, len(x)), -torch.inf, dtype=dtype, device=x.device)
        index = torch.full((2, len(x)), -1, device=x.device)
        for c, d in spans(len(y), width):
            references = prepare(y, span(y_order, c, d), dtype, normalize=normalize).unit
            for a, b in spans(len(x), height):
                tile = Tile(a, b, c, d)
                s = anchors[a:b] @ references.T
                for _, _, first, last in tile.blocks(kinds):
                    block = s[:, first - c : last - c]
                    masks = kinds.masks(a, b, first, last)
                    for side, logit in enumerate((built.positive, built.negative)):
                        top, place = torch.where(masks[side], logit(block), -torch.inf).max(1)
                        better = (top > best[side, a:b]) | top.isnan()
                        best[side, a:b] = torch.where(better, top, best[side, a:b])
                        index[side, a:b] = torch.where(better, place + first, index[side, a:b])
        if y_order is not None:
            index = torch.where(index < 0, index, y_order[index.clamp(min=0)])
        if x_order is not None:
            out = torch.empty_like(index)
            out[:, x_order] = index
            index = out
        return index[0].clone(), index[1].clone()


@hardest_pairs.register_fake
def _(x, *_):  # type: ignore[no-untyped-def]
    return x.new_empty(len(x), dtype=torch.int64), x.new_empty(len(x), dtype=torch.int64)
