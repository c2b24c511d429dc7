r"""The whole form: a small problem at once, differentiated by hand.

The numbers of `dense` in fewer, and unrecorded, operations. With e the logits, A what arrives at the log-sum-exps and
G_ij = slope(s_ij) A_i exp(e_ij - lse_i), summed over both sides:

    dX^ = G Y^,    dY^ = G^T X^;    the batch against itself: dX^ = (G + G^T) X^    (then through the normalisation).

What is between the similarities and G is a softmax of each side, or two kernels in C.

Legend: B batch, C references. It does not tile, and has no place in compiled code, where `dense` is as fast.
"""

from typing import Any

import torch
from torch import Tensor

from circlet.similarity.exponentials import exponent_of
from circlet.similarity.native import Both, Met, Native, Slopes, native
from circlet.similarity.operators import first_order
from circlet.similarity.pairs import PairLse, Pairs, Rule, masks
from circlet.similarity.rows import Rows, compute_dtype, prepare, through_norm_, without_autocast
from circlet.similarity.short_form import ShortForm, Sides


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
        pos, pos_slope = _values(sides.pos, s)
        neg, neg_slope = _values(sides.neg, s)
        kernels = native(dtype, s.device)
        ctx.softmax = _Softmax(pairs, sides) if kernels is None else _InC(pairs, sides, kernels)
        lse: Both
        lse, kept = ctx.softmax.lse((pos, neg))
        ctx.dtypes = (x.dtype, None if y is None else y.dtype)
        ctx.save_for_backward(x, y, *kept, pos_slope, neg_slope, *anchors, *(() if y is None else references))
        return lse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with without_autocast(grads[0]), torch.no_grad():
            found = _gradients(ctx, *grads)
        x, y = ctx.saved_tensors[:2]
        return first_order(found[0], x), first_order(found[1], y), None, None, None


def _values(side: ShortForm, s: Tensor) -> tuple[Tensor, Tensor | None]:
    """Q and unit slope; what a rule of one's own gives may be of another dtype or layout, or one number for all."""
    values = side.affine_and_slope(s, 1.0, None, (torch.empty_like(s), torch.empty_like(s)))
    q, slope = (None if each is None else each.to(s.dtype).expand(s.shape).contiguous() for each in values)
    assert q is not None
    return q, slope


def _gradients(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
    first, second, third, pos_slope, neg_slope, *rows = ctx.saved_tensors[2:]
    g: Tensor = ctx.softmax.gradient((first, second, third), (pos_slope, neg_slope), torch.stack(grads))
    anchors = Rows(*rows[:3])
    if len(rows) == 3:
        both = anchors.scale_(g + g.T, anchors)
        return through_norm_(both @ anchors.rows, anchors).to(ctx.dtypes[0]), None
    references = Rows(*rows[3:])
    anchors.scale_(g, references)
    needs_x, needs_y = ctx.needs_input_grad[:2]
    grad_x = through_norm_(g @ references.rows, anchors).to(ctx.dtypes[0]) if needs_x else None
    grad_y = through_norm_(g.T @ anchors.rows, references).to(ctx.dtypes[1]) if needs_y else None
    return grad_x, grad_y


Kept = tuple[Tensor, Tensor, Tensor | None]


class _Softmax:
    """The log-sum-exps of both sides (B,), and G, by torch's operations; with what the first keeps for the second."""

    def __init__(self, pairs: Pairs, sides: Sides) -> None:
        self._pairs, self._sides = pairs, sides

    def lse(self, q: Both) -> tuple[Both, Kept]:
        # The lowest number for -inf: the softmax of an empty side is then no NaN.
        nothing = torch.finfo(q[0].dtype).min
        logits = torch.stack([each * side.scale for each, side in zip(q, self._sides, strict=True)])
        logits = torch.where(torch.stack(masks(self._pairs)), logits, nothing)
        weights, peak = logits.softmax(2), logits.amax(2)
        empty = peak == nothing
        # The weight of the peak is 1 / sum e^(logit - peak).
        lse = peak.sub_(weights.amax(2).log_()).masked_fill_(empty, -torch.inf)
        return (lse[0] + self._sides.pos.offset, lse[1] + self._sides.neg.offset), (weights, empty, None)

    def gradient(self, kept: Kept, slopes: Slopes, grads: Tensor) -> Tensor:
        weights, empty, _ = kept
        weights = weights * grads.masked_fill_(empty, 0.0)[..., None]
        pos, neg = (w if slope is None else w.mul_(slope) for w, slope in zip(weights, slopes, strict=True))
        g: Tensor = pos.mul_(self._sides.pos.scale).add_(neg, alpha=self._sides.neg.scale)
        return g


class _InC:
    """The same by kernels, which need no masks."""

    def __init__(self, pairs: Pairs, sides: Sides, kernels: Native) -> None:
        if pairs.positive_mask is not None:
            labels, reference_labels, mask = None, None, pairs.positive_mask.contiguous()
        else:
            assert pairs.labels is not None
            labels, mask = pairs.labels.long().contiguous(), None
            other = pairs.reference_labels
            reference_labels = labels if other is None else other.long().contiguous()
        self._met = Met(labels, reference_labels, mask, pairs.references is None)
        self._kernels, self._sides = (
            kernels,
            (exponent_of(sides.pos, torch.float32), exponent_of(sides.neg, torch.float32)),
        )

    def lse(self, q: Both) -> tuple[Both, Kept]:
        lse = self._kernels.lse(q, self._sides, self._met)
        pos, neg = lse.float()
        return (pos, neg), (*q, lse)

    def gradient(self, kept: Kept, slopes: Slopes, grads: Tensor) -> Tensor:
        pos, neg, lse = kept
        assert lse is not None
        return self._kernels.lse_gradient((pos, neg), slopes, self._sides, self._met, lse, grads)
