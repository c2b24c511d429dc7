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

from circlet.similarity.exponentials import exponent_of, softplus
from circlet.similarity.native import Given, Matrix, Met, Native, Side, native
from circlet.similarity.operators import first_order, refuse_batched
from circlet.similarity.pairs import PairLse, Pairs, Rule, masks
from circlet.similarity.rows import Rows, compute_dtype, prepare, through_norm_, without_autocast
from circlet.similarity.short_form import ShortForm, Sides


def pair_lse(pairs: Pairs, rule: Rule, *, normalize: bool) -> PairLse:
    """As `dense.pair_lse` for log-sum-exps, by any rule; cannot be differentiated twice."""
    with without_autocast(pairs.anchors):
        return PairLse(*_Lse.apply(pairs.anchors, pairs.references, pairs, rule.short_form(), normalize))  # type: ignore[no-untyped-call]


def mean_softplus(pairs: Pairs, rule: Rule, *, normalize: bool) -> Tensor:
    """The mean of softplus(pos + neg) of `pair_lse` over the anchors that have both; 0 if there is none."""
    with without_autocast(pairs.anchors):
        loss: Tensor = _Mean.apply(pairs.anchors, pairs.references, pairs, rule.short_form(), normalize)  # type: ignore[no-untyped-call]
        return loss


class _Lse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, *of_pairs: Any) -> tuple[Tensor, ...]:
        s, *rows = _begin(ctx, x, y, *of_pairs)
        lse, kept = ctx.softmax.lse(s)
        ctx.save_for_backward(x, y, *rows, *kept)
        both: tuple[Tensor, ...] = lse.to(s.dtype).unbind()
        return both

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _finish(ctx, grads)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, *of_pairs: Any) -> Tensor:
        s, *rows = _begin(ctx, x, y, *of_pairs)
        loss: Tensor
        loss, ctx.slopes, kept = ctx.softmax.mean_softplus(s)
        ctx.save_for_backward(x, y, *rows, *kept)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            arrived = ctx.slopes * grad
        return _finish(ctx, (arrived, arrived))


def _begin(
    ctx: Any, x: Tensor, y: Tensor | None, pairs: Pairs, sides: Sides, normalize: bool
) -> tuple[Tensor, *tuple[Tensor | None, ...]]:
    """Similarities, and the rows of anchors and references; what is made of them is in `ctx.softmax`."""
    dtype = compute_dtype(x) if y is None else compute_dtype(x, y)
    anchors = prepare(x, None, dtype, normalize=normalize)
    references = anchors if y is None else prepare(y, None, dtype, normalize=normalize)
    kernels = native(dtype, x.device)
    ctx.softmax = _Softmax(pairs, sides) if kernels is None else _InC(pairs, sides, kernels)
    return anchors.similarities(references), *anchors, *(_NO_ROWS if y is None else references)


_NO_ROWS = (None, None, None)


def _finish(ctx: Any, grads: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    x, y, *saved = ctx.saved_tensors
    with without_autocast(x), torch.no_grad():
        g = ctx.softmax.gradient(saved[6:], grads)
        grad_x, grad_y = _to_rows(g, Rows(*saved[:3]), None if y is None else Rows(*saved[3:6]), ctx.needs_input_grad)
        grad_x = None if grad_x is None else grad_x.to(x.dtype)
        grad_y = None if grad_y is None else grad_y.to(y.dtype)
    return first_order(grad_x, x), first_order(grad_y, y), None, None, None


def _to_rows(
    g: Tensor, anchors: Rows, references: Rows | None, needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of what the rows were, from that of their similarities; of the batch with itself both ways at once."""
    if references is None:
        return through_norm_(anchors.scale_(g, anchors) @ anchors.rows, anchors), None
    anchors.scale_(g, references)
    grad_x = through_norm_(g @ references.rows, anchors) if needs[0] else None
    return grad_x, through_norm_(g.T @ anchors.rows, references) if needs[1] else None


Kept = tuple[Tensor | None, ...]


class _Softmax:
    """The log-sum-exps of both sides (2, B), and G, by torch's operations; with what the first keeps for the second."""

    def __init__(self, pairs: Pairs, sides: Sides) -> None:
        self._pairs, self._sides = pairs, sides

    def lse(self, s: Tensor) -> tuple[Tensor, Kept]:
        q, slopes = zip(*(_values(side, s) for side in self._sides), strict=True)
        # The lowest number for -inf: the softmax of an empty side is then no NaN.
        nothing = torch.finfo(s.dtype).min
        logits = torch.stack([each * side.scale for each, side in zip(q, self._sides, strict=True)])
        logits = torch.where(torch.stack(masks(self._pairs)), logits, nothing)
        weights, peak = logits.softmax(2), logits.amax(2)
        empty = peak == nothing
        # The weight of the peak is 1 / sum e^(logit - peak).
        lse = peak.sub_(weights.amax(2).log_()).masked_fill_(empty, -torch.inf)
        with_offset = [each + side.offset for each, side in zip(lse, self._sides, strict=True)]
        return torch.stack(with_offset), (weights, empty, *slopes)

    def mean_softplus(self, s: Tensor) -> tuple[Tensor, Tensor, Kept]:
        lse, kept = self.lse(s)
        invalid = (lse == -torch.inf).any(0)
        x = lse.sum(0).masked_fill_(invalid, -torch.inf)
        count = invalid.logical_not_().sum().clamp_(min=1)
        return softplus(x).sum().div_(count), x.sigmoid_().div_(count), kept

    def gradient(self, kept: list[Tensor], grads: tuple[Tensor, Tensor]) -> Tensor:
        weights, empty, *slopes = kept
        weights = weights * torch.stack(grads).masked_fill_(empty, 0.0)[..., None]
        pos, neg = (w if slope is None else w.mul_(slope) for w, slope in zip(weights, slopes, strict=True))
        g: Tensor = pos.mul_(self._sides.pos.scale).add_(neg, alpha=self._sides.neg.scale)
        return g + g.T if self._pairs.references is None else g


class _InC:
    """The same by kernels, which need no masks, and no values of sides that are `Fused`."""

    def __init__(self, pairs: Pairs, sides: Sides, kernels: Native) -> None:
        if pairs.positive_mask is not None:
            labels, reference_labels, mask = None, None, pairs.positive_mask.contiguous()
        else:
            assert pairs.labels is not None
            labels, mask = pairs.labels.long().contiguous(), None
            other = pairs.reference_labels
            reference_labels = labels if other is None else other.long().contiguous()
        met = Met(labels, reference_labels, mask, pairs.references is None)
        pos, neg = (Side(side.fused, exponent_of(side, torch.float32)) for side in sides)
        self._kernels, self._sides = kernels, sides
        self._matrix = Matrix(len(pairs.anchors), pairs.num_references, (pos, neg), met)

    def lse(self, s: Tensor) -> tuple[Tensor, Kept]:
        given = self._given(s)
        lse = self._kernels.lse(s, given, self._matrix)
        return lse, self._kept(s, lse, given)

    def mean_softplus(self, s: Tensor) -> tuple[Tensor, Tensor, Kept]:
        given = self._given(s)
        mean, slopes, lse = self._kernels.mean_softplus(s, given, self._matrix)
        return mean, slopes, self._kept(s, lse, given)

    def gradient(self, kept: list[Tensor], grads: tuple[Tensor, Tensor]) -> Tensor:
        refuse_batched(grads[0])
        s, lse, *given = kept[:6]
        return self._kernels.lse_gradient(s, (Given(*given[:2]), Given(*given[2:])), self._matrix, lse, grads)

    def _kept(self, s: Tensor, lse: Tensor, given: tuple[Given, Given]) -> Kept:
        """With the labels, for autograd to refuse those that were changed in place."""
        return s, lse, *given[0], *given[1], *self._matrix.met[:3]

    def _given(self, s: Tensor) -> tuple[Given, Given]:
        pos, neg = (Given() if side.fused is not None else Given(*_values(side, s)) for side in self._sides)
        return pos, neg


def _values(side: ShortForm, s: Tensor) -> tuple[Tensor, Tensor | None]:
    """Q and unit slope; what a rule of one's own gives may be of another dtype or layout, or one number for all."""
    values = side.affine_and_slope(s, 1.0, None, (torch.empty_like(s), torch.empty_like(s)))
    q, slope = (None if each is None else each.to(s.dtype).expand(s.shape).contiguous() for each in values)
    assert q is not None
    return q, slope
