"""The tiled forms for autograd: as plain functions, and as the operators that torch.compile needs.

`torch.library` operators load torch's compiler on their first call (a second and 150 MiB), so eager code goes through
`torch.autograd.Function` and only compiled code through them. Both call the same functions of `symmetric`, `cross` and
`hardest`. The gradient of a log-sum-exp has no derivative of its own: differentiating twice is refused. (Circle's
weights are detached, so a second derivative would not be that of the loss anyway.) Nothing here may be called under a
transform of torch.func or forward-mode differentiation, where the operators would silently be constants: `pair_lse`
goes densely then. A backward pass of many gradients at once (is_grads_batched) is refused.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from circlet.similarity import cross, hardest, symmetric
from circlet.similarity.blocks import Tiling
from circlet.similarity.cross import CrossPairs
from circlet.similarity.kept import KeptTiles
from circlet.similarity.pairs import Rule
from circlet.similarity.rows import is_transformed, without_autocast
from circlet.similarity.spec import rule_of, spec_of


def symmetric_lse(x: Tensor, order: Tensor, ranges: Tensor, rule: Rule, normalize: bool, tiling: Tiling) -> Tensor:
    """Log-sum-exps (2, B) in fp64 of the batch against itself; see `symmetric`."""
    if torch.compiler.is_compiling():
        out: Tensor = symmetric_operator(x, order, ranges, *_carried(rule, normalize, tiling))
        return out
    with without_autocast(x):
        lse: Tensor = _Symmetric.apply(x, order, ranges, rule, normalize, tiling)  # type: ignore[no-untyped-call]
    return lse


def cross_lse(x: Tensor, y: Tensor, pairs: CrossPairs, rule: Rule, normalize: bool, tiling: Tiling) -> Tensor:
    """Log-sum-exps (2, B) in fp64 of anchors against references; see `cross`."""
    if torch.compiler.is_compiling():
        out: Tensor = cross_operator(x, y, *pairs, *_carried(rule, normalize, tiling))
        return out
    with without_autocast(x):
        lse: Tensor = _Cross.apply(x, y, pairs, rule, normalize, tiling)  # type: ignore[no-untyped-call]
    return lse


def hardest_pairs(
    x: Tensor, y: Tensor, pairs: CrossPairs, rule: Rule, normalize: bool, tiling: Tiling
) -> tuple[Tensor, Tensor]:
    """Indices (B,) of the hardest positive and negative of each anchor; see `hardest`."""
    if torch.compiler.is_compiling():
        found: tuple[Tensor, Tensor] = hardest_operator(x, y, *pairs, *_carried(rule, normalize, tiling))
        return found
    with without_autocast(x):
        return hardest.hardest_pairs(x, y, pairs, rule, normalize, tiling)


class FirstOrder(torch.autograd.Function):
    """A gradient that is not differentiated again; `of` is what it is the gradient of."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, of: Tensor) -> Tensor:
        """The gradient as it is."""
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> None:
        """Refuse."""
        _refuse()


def first_order(grad: Tensor | None, of: Tensor) -> Tensor | None:
    """`grad`, which refuses to be differentiated again where somebody is about to."""
    if grad is None or not torch.is_grad_enabled():
        return grad
    out: Tensor = FirstOrder.apply(grad, of)  # type: ignore[no-untyped-call]
    return out


class _Symmetric(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, ranges: Tensor, *settings: Any) -> Tensor:
        lse, ctx.kept = symmetric.symmetric_lse(x, order, ranges, *settings)
        ctx.settings = settings
        ctx.save_for_backward(x, order, ranges, lse)
        return lse

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
        x, order, ranges, lse = ctx.saved_tensors
        refuse_batched(grads)
        with without_autocast(x), torch.no_grad():
            grad = symmetric.symmetric_lse_backward(x, order, ranges, lse, grads, ctx.kept, *ctx.settings)
        return first_order(grad, x), *[None] * 5


class _Cross(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, pairs: CrossPairs, *settings: Any) -> Tensor:
        lse, ctx.kept = cross.cross_lse(x, y, pairs, *settings)
        ctx.pairs, ctx.settings = pairs, settings
        ctx.save_for_backward(x, y, lse)
        return lse

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
        x, y, lse = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        refuse_batched(grads)
        with without_autocast(x), torch.no_grad():
            found = cross.cross_lse_backward(x, y, ctx.pairs, lse, grads, ctx.kept, needs, *ctx.settings)
        grad_x, grad_y = (grad if need else None for grad, need in zip(found, needs, strict=True))
        return first_order(grad_x, x), first_order(grad_y, y), *[None] * 4


# The operators, for compiled code. There tiles are never kept: the memory belongs to the compiler.


def _carried(rule: Rule, normalize: bool, tiling: Tiling) -> tuple[str, list[float], bool, int, int]:
    """What the operators take for (rule, normalize, tiling)."""
    spec = spec_of(rule)
    assert spec is not None
    return *spec, normalize, tiling.height, tiling.width


def _settings(
    rule: str, numbers: Sequence[float], normalize: bool, height: int, width: int
) -> tuple[Rule, bool, Tiling]:
    return rule_of(rule, list(numbers)), normalize, Tiling(height, width, 0)


@torch.library.custom_op("circlet::symmetric_lse", mutates_args=())
def symmetric_operator(
    x: Tensor,
    order: Tensor,
    ranges: Tensor,
    rule: str,
    numbers: Sequence[float],
    normalize: bool,
    height: int,
    width: int,
) -> Tensor:
    """`symmetric.symmetric_lse`."""
    with without_autocast(x):
        return symmetric.symmetric_lse(x, order, ranges, *_settings(rule, numbers, normalize, height, width))[0]


@torch.library.custom_op("circlet::symmetric_lse_backward", mutates_args=())
def symmetric_operator_backward(
    x: Tensor,
    order: Tensor,
    ranges: Tensor,
    lse: Tensor,
    grads: Tensor,
    rule: str,
    numbers: Sequence[float],
    normalize: bool,
    height: int,
    width: int,
) -> Tensor:
    """`symmetric.symmetric_lse_backward`."""
    settings = _settings(rule, numbers, normalize, height, width)
    with without_autocast(x):
        return symmetric.symmetric_lse_backward(x, order, ranges, lse, grads, KeptTiles(None), *settings)


@torch.library.custom_op("circlet::cross_lse", mutates_args=())
def cross_operator(
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
) -> Tensor:
    """`cross.cross_lse`."""
    pairs = CrossPairs(x_order, y_order, ranges, mask, own)
    with without_autocast(x):
        return cross.cross_lse(x, y, pairs, *_settings(rule, numbers, normalize, height, width))[0]


@torch.library.custom_op("circlet::cross_lse_backward", mutates_args=())
def cross_operator_backward(
    x: Tensor,
    y: Tensor,
    x_order: Tensor | None,
    y_order: Tensor | None,
    ranges: Tensor | None,
    mask: Tensor | None,
    lse: Tensor,
    grads: Tensor,
    needs_x: bool,
    needs_y: bool,
    own: bool,
    rule: str,
    numbers: Sequence[float],
    normalize: bool,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    """`cross.cross_lse_backward`."""
    pairs = CrossPairs(x_order, y_order, ranges, mask, own)
    settings = _settings(rule, numbers, normalize, height, width)
    with without_autocast(x):
        return cross.cross_lse_backward(x, y, pairs, lse, grads, KeptTiles(None), (needs_x, needs_y), *settings)


@torch.library.custom_op("circlet::hardest_pairs", mutates_args=())
def hardest_operator(
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
    """`hardest.hardest_pairs`."""
    pairs = CrossPairs(x_order, y_order, ranges, mask, own)
    with without_autocast(x):
        return hardest.hardest_pairs(x, y, pairs, *_settings(rule, numbers, normalize, height, width))


@symmetric_operator.register_fake
@cross_operator.register_fake
def _(x, *_):  # type: ignore[no-untyped-def]
    return x.new_empty((2, len(x)), dtype=torch.float64)


@symmetric_operator_backward.register_fake
def _(x, *_):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@cross_operator_backward.register_fake
def _(x, y, x_order, y_order, ranges, mask, lse, grads, needs_x, needs_y, *_):  # type: ignore[no-untyped-def]
    return x.new_empty(len(x) if needs_x else 0, x.shape[1]), y.new_empty(len(y) if needs_y else 0, y.shape[1])


@hardest_operator.register_fake
def _(x, *_):  # type: ignore[no-untyped-def]
    return x.new_empty(len(x), dtype=torch.int64), x.new_empty(len(x), dtype=torch.int64)


def _symmetric_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.settings = inputs[3:]
    ctx.save_for_backward(*inputs[:3], output)


def _symmetric_backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
    return symmetric_operator_backward(*ctx.saved_tensors, grads, *ctx.settings), *[None] * 7


def _cross_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.settings = inputs[6:]
    ctx.save_for_backward(*inputs[:6], output)


def _cross_backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
    needs = ctx.needs_input_grad[:2]
    grad_x, grad_y = cross_operator_backward(*ctx.saved_tensors, grads, *needs, *ctx.settings)
    return grad_x if needs[0] else None, grad_y if needs[1] else None, *[None] * 10


def _refuse(*_: Any) -> None:
    """Stand where the derivative of a gradient would be."""
    raise RuntimeError("circlet: the gradient of the loss cannot be differentiated again (double backward); under "
                       "torch.func (grad of grad, hessian, jvp) it can, for small batches")  # fmt: skip


def refuse_batched(grads: Tensor) -> None:
    """Refuse a backward pass under vmap (autograd has one of its own), whose gradients no tile can be written with."""
    if is_transformed() or torch._C._functorch.is_legacy_batchedtensor(grads):
        raise NotImplementedError("circlet: found a backward pass of the loss under vmap or forward-mode "
                                  "differentiation (is_grads_batched, vectorize), expected one gradient at a time; "
                                  "torch.func.jacrev differentiates many losses at once")  # fmt: skip


def _no_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


symmetric_operator.register_autograd(_symmetric_backward, setup_context=_symmetric_context)
symmetric_operator_backward.register_autograd(_refuse, setup_context=_no_context)
cross_operator.register_autograd(_cross_backward, setup_context=_cross_context)
cross_operator_backward.register_autograd(_refuse, setup_context=_no_context)
