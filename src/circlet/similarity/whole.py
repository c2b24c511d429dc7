r"""The whole form: a small problem at once, differentiated by hand.

The numbers of `dense` in fewer, and unrecorded, operations. With e the logits, A what arrives at the log-sum-exps and
G_ij = slope(s_ij) A_i exp(e_ij - lse_i), summed over both sides:

    dX^ = G Y^,    dY^ = G^T X^;    the batch against itself: dX^ = (G + G^T) X^    (then through the normalisation).

Legend: B batch, C references. It does not tile, and has no place in compiled code, where `dense` is as fast.
"""

from typing import Any

import torch
from torch import Tensor

from circlet.similarity.operators import first_order
from circlet.similarity.pairs import PairLse, Pairs, Rule, masks
from circlet.similarity.rows import Rows, compute_dtype, prepare, through_norm_, without_autocast
from circlet.similarity.short_form import Sides


def pair_lse(pairs: Pairs, rule: Rule, *, normalize: bool) -> PairLse:
    """As `dense.pair_lse` for log-sum-exps, by any rule; cannot be differentiated twice."""
    with without_autocast(pairs.anchors):
        return PairLse(*_Whole.apply(pairs.anchors, pairs.references, pairs, rule.short_form(), normalize))  # type: ignore[no-untyped-call]


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor | None, pairs: Pairs, sides: Sides, normalize: bool
    ) -> tuple[Tensor, Tensor]:
        dtype = compute_dtype(x) if y is None else compute_dtype(x, y)
        anchors = prepare(x, None, dtype, normalize=normalize)
        references = anchors if y is None else prepare(y, None, dtype, normalize=normalize)
        s = anchors.similarities(references)
        pos, pos_slope = sides.pos.affine_and_slope(s, 1.0, None, (torch.empty_like(s), torch.empty_like(s)))
        neg, neg_slope = sides.neg.affine_and_slope(s, 1.0, None, (torch.empty_like(s), torch.empty_like(s)))
        # The lowest number for -inf: the softmax of an empty side is then no NaN.
        nothing = torch.finfo(dtype).min
        logits = torch.stack([pos * sides.pos.scale, neg * sides.neg.scale])
        logits = torch.where(torch.stack(masks(pairs)), logits, nothing)
        weights, peak = logits.softmax(2), logits.amax(2)
        empty = peak == nothing
        # The weight of the peak is 1 / sum e^(logit - peak).
        lse = peak.sub_(weights.amax(2).log_()).masked_fill_(empty, -torch.inf)
        ctx.scales, ctx.dtypes = (sides.pos.scale, sides.neg.scale), (x.dtype, None if y is None else y.dtype)
        ctx.save_for_backward(x, y, weights, empty, pos_slope, neg_slope, *anchors, *(() if y is None else references))
        return lse[0] + sides.pos.offset, lse[1] + sides.neg.offset

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with without_autocast(grads[0]), torch.no_grad():
            found = _gradients(ctx, *grads)
        x, y = ctx.saved_tensors[:2]
        return first_order(found[0], x), first_order(found[1], y), None, None, None


def _gradients(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
    weights, empty, pos_slope, neg_slope, *rows = ctx.saved_tensors[2:]
    anchors = Rows(*rows[:3])
    weights = weights * torch.stack(grads).masked_fill_(empty, 0.0)[..., None]
    pos, neg = (w if slope is None else w.mul_(slope) for w, slope in zip(weights, (pos_slope, neg_slope), strict=True))
    g = pos.mul_(ctx.scales[0]).add_(neg, alpha=ctx.scales[1])
    if len(rows) == 3:
        both = anchors.scale_(g + g.T, anchors)
        return through_norm_(both @ anchors.rows, anchors).to(ctx.dtypes[0]), None
    references = Rows(*rows[3:])
    anchors.scale_(g, references)
    needs_x, needs_y = ctx.needs_input_grad[:2]
    grad_x = through_norm_(g @ references.rows, anchors).to(ctx.dtypes[0]) if needs_x else None
    grad_y = through_norm_(g.T @ anchors.rows, references).to(ctx.dtypes[1]) if needs_y else None
    return grad_x, grad_y
