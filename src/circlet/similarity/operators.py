"""Operators: the autograd and shape rules of `symmetric_lse` and `cross_lse`, for autograd and torch.compile.

The gradient of a log-sum-exp is a custom operator as well, with no derivative of its own: differentiating twice is
refused. (Circle's weights are detached, so a second derivative would not be that of the loss anyway.)
"""

from typing import Any

import torch
from torch import Tensor

from circlet.similarity.cross import cross_lse, cross_lse_backward
from circlet.similarity.kept import new_slabs
from circlet.similarity.rows import compute_dtype
from circlet.similarity.symmetric import symmetric_lse, symmetric_lse_backward

__all__ = ["Once", "cross_lse", "symmetric_lse"]


@symmetric_lse.register_fake
def _(x, order, ranges, rule, numbers, normalize, height, width, keep_bytes):  # type: ignore[no-untyped-def]
    slabs = new_slabs(x, compute_dtype(x), len(x) * (len(x) + height) // 2, keep_bytes) if keep_bytes else []
    return x.new_empty((2, len(x)), dtype=torch.float64), slabs


@symmetric_lse_backward.register_fake
def _(x, *_):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@cross_lse.register_fake
def _(x, y, x_order, y_order, ranges, mask, own, rule, numbers, normalize, height, width, keep_bytes):  # type: ignore[no-untyped-def]
    slabs = new_slabs(x, compute_dtype(x, y), len(x) * len(y), keep_bytes) if keep_bytes else []
    return x.new_empty((2, len(x)), dtype=torch.float64), slabs


@cross_lse_backward.register_fake
def _(x, y, x_order, y_order, ranges, mask, lse, grads, slabs, release, needs_x, needs_y, *_):  # type: ignore[no-untyped-def]
    return x.new_empty(len(x) if needs_x else 0, x.shape[1]), y.new_empty(len(y) if needs_y else 0, y.shape[1])


def _symmetric_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    x, order, ranges, *ctx.settings, _ = inputs
    lse, slabs = output
    ctx.set_materialize_grads(False)  # of the slabs
    ctx.save_for_backward(x, order, ranges, lse, *slabs)


def _symmetric_backward(ctx: Any, grads: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    x, order, ranges, lse, *slabs = ctx.saved_tensors
    grads = torch.zeros_like(lse) if grads is None else grads
    release = not torch.compiler.is_compiling()
    return symmetric_lse_backward(x, order, ranges, lse, grads, slabs, release, *ctx.settings), *[None] * 8


def _cross_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    lse, slabs = output
    ctx.settings = inputs[6:-1]
    ctx.set_materialize_grads(False)  # of the slabs
    ctx.save_for_backward(*inputs[:6], lse, *slabs)


def _cross_backward(ctx: Any, grads: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    *tensors, lse = ctx.saved_tensors[:7]
    slabs = ctx.saved_tensors[7:]
    grads = torch.zeros_like(lse) if grads is None else grads
    release = not torch.compiler.is_compiling()
    needs = ctx.needs_input_grad[:2]
    grad_x, grad_y = cross_lse_backward(*tensors, lse, grads, slabs, release, *needs, *ctx.settings)
    return grad_x if needs[0] else None, grad_y if needs[1] else None, *[None] * 11


def _refuse(*_: Any) -> None:
    """Stand where the derivative of a gradient would be."""
    raise RuntimeError("circlet: the gradient of the loss cannot be differentiated again (double backward); that of "
                       "circlet.similarity.dense.pair_lse can, for small batches")  # fmt: skip


class Once(torch.autograd.Function):
    """A gradient that is not differentiated again; `of` is what it is the gradient of."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, of: Tensor) -> Tensor:
        """The gradient as it is."""
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        """Refuse."""
        _refuse()


def _refuse_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


symmetric_lse.register_autograd(_symmetric_backward, setup_context=_symmetric_context)
symmetric_lse_backward.register_autograd(_refuse, setup_context=_refuse_context)
cross_lse.register_autograd(_cross_backward, setup_context=_cross_context)
cross_lse_backward.register_autograd(_refuse, setup_context=_refuse_context)
