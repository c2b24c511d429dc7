"""The GPU backend for autograd, and as two operators for torch.compile, each with its rule for the other.

The backward pass goes over chunks of K. Against references, column chunks are outside: the gradient of a chunk
of references is finished before the next one. Pair-wise (references None) both passes go over the chunks on and above
the diagonal (`triangle`), and each serves its rows and its columns. It refuses to be differentiated. Eager code goes
through `torch.autograd.Function`, as in `circlet.similarity.operators`: an operator costs it more than its kernels.

Legend: B batch, C references, D dim. stats (2, 2, B): peaks and totals (see `merge`) of positives and negatives.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from circlet.similarity.cross import spans
from circlet.similarity.gpu.blocks import Blocks, blocks_of, product_dtype, workspace_dtype
from circlet.similarity.gpu.cross import cross_parts
from circlet.similarity.gpu.gradient import Arrived, write_gradient
from circlet.similarity.gpu.merge import merge, no_stats
from circlet.similarity.gpu.product import add_product, finish
from circlet.similarity.gpu.rows import Rows, prepare
from circlet.similarity.gpu.symmetric import symmetric_stats
from circlet.similarity.gpu.tile import Settings
from circlet.similarity.operators import first_order, refuse_batched
from circlet.similarity.rows import without_autocast
from circlet.similarity.short_form import Kernel
from circlet.similarity.symmetric import triangle


class Operands(NamedTuple):
    """Anchors x (B, D) and their labels, references y (C, D) and theirs, or None: the anchors themselves."""

    x: Tensor
    y: Tensor | None
    labels: Tensor
    reference_labels: Tensor | None


class How(NamedTuple):
    """The rule, whether of cosines, and `Blocks`, or nothing for `blocks_of`."""

    kernel: Kernel
    normalize: bool
    blocks: Sequence[int] = ()


def kernel_lse(given: Operands, how: How) -> Tensor:
    """Log-sum-exps (2, B) of the positives and of the negatives."""
    lse: Tensor
    if torch.compiler.is_compiling():
        lse = gpu_lse(*given, how.kernel.formula, list(how.kernel.numbers), how.normalize, list(how.blocks))[0]
        return lse
    with without_autocast(given.x):
        lse = _Kernels.apply(*given, how)  # type: ignore[no-untyped-call]
    return lse


class _Kernels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, labels: Tensor, reference_labels: Tensor | None,
                how: How) -> Tensor:  # fmt: skip
        given = Operands(x, y, labels, reference_labels)
        lse, stats = _forward(given, how)
        ctx.how = how
        ctx.save_for_backward(*given, stats)
        return lse

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, stats = ctx.saved_tensors
        given, needs = Operands(*tensors), ctx.needs_input_grad[:2]
        refuse_batched(grads)
        with without_autocast(given.x), torch.no_grad():
            grad_x, grad_y = _backward(given, stats, grads, needs, ctx.how)
        found = zip((grad_x, grad_y), needs, (given.x, given.x if given.y is None else given.y), strict=True)
        return *[first_order(grad if need else None, of) for grad, need, of in found], *[None] * 3


def _forward(given: Operands, how: How) -> tuple[Tensor, Tensor]:
    """Log-sum-exps (2, B), and the stats for the backward pass."""
    with torch.cuda.device_of(given.x):
        settings = _settings(given, how)
        anchors = _prepared(given.x, given.labels, settings)
        stats = symmetric_stats(anchors, settings) if given.y is None else _cross_stats(anchors, given, settings)
        peak, total = stats
        return peak + total.log(), stats


def _backward(given: Operands, stats: Tensor, grads: Tensor, needs: tuple[bool, bool],
              how: How) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of x (B, D) and of y (C, D), each in its dtype; without rows where not needed."""
    with torch.cuda.device_of(given.x):
        settings = _settings(given, how)
        anchors = _prepared(given.x, given.labels, settings)
        arrived = Arrived(stats, grads.contiguous())
        if given.y is None:
            return _pair_backward(anchors, given.x.dtype, arrived, settings), given.x.new_empty(0, given.x.shape[1])
        return _cross_backward(anchors, given, arrived, settings, needs)


def _settings(given: Operands, how: How) -> Settings:
    x, y = given[:2]
    blocks = Blocks(*how.blocks) if how.blocks else blocks_of(x, y)
    return Settings.of(product_dtype(x, y), how.kernel, blocks, normalize=how.normalize)


def _prepared(x: Tensor, labels: Tensor, settings: Settings, out: Tensor | None = None) -> Rows:
    return prepare(x, labels, settings.dtype, normalize=settings.normalize, out=out)


def _chunks(given: Operands, settings: Settings, width: int) -> Iterator[tuple[int, int, Rows]]:
    """References [c, d), and they as they are multiplied, each chunk in the place of the last."""
    y, labels = given.y, given.reference_labels
    assert y is not None
    assert labels is not None
    memory = y.new_empty((min(width, len(y)), y.shape[1]), dtype=settings.dtype)
    for c, d in spans(len(y), width):
        yield c, d, _prepared(y[c:d], labels[c:d], settings, memory)


def _cross_stats(x: Rows, given: Operands, settings: Settings) -> Tensor:
    stats = no_stats(x.data)
    for _, _, columns in _chunks(given, settings, settings.blocks.references):
        if len(x.data):
            merge(stats, cross_parts(x, columns, settings))
    return stats


def _pair_backward(x: Rows, dtype: torch.dtype, arrived: Arrived, settings: Settings) -> Tensor:
    (batch, dim), step = x.data.shape, settings.blocks.height
    workspace = x.data.new_empty((min(step, batch),) * 2, dtype=workspace_dtype(settings.dtype))
    sums = x.data.new_empty((batch, dim), dtype=torch.float32)
    for a, b, c, d in triangle(batch, step, step):
        k = workspace[: b - a, : d - c]
        rows, columns = x.span(a, b), x.span(c, d)
        write_gradient(k, rows, columns, arrived.span(a, b), arrived.span(c, d), c - a, settings)
        # The first chunks of all rows are those beside the first rows.
        add_product(sums[a:b], k, columns.data, first=c == 0)
        if c != a:
            add_product(sums[c:d], k.T, rows.data, first=a == 0)
    return _finished(sums, x, dtype, settings)


def _cross_backward(x: Rows, given: Operands, arrived: Arrived, settings: Settings,
                    needs: tuple[bool, bool]) -> tuple[Tensor, Tensor]:  # fmt: skip
    (needs_x, needs_y), blocks, y = needs, settings.blocks, given.y
    assert y is not None
    (batch, dim), num_references = x.data.shape, len(y)
    height, width = min(blocks.height, batch), min(blocks.width, num_references)
    workspace = x.data.new_empty((height, width), dtype=workspace_dtype(settings.dtype))
    new = torch.empty if batch and num_references else torch.zeros
    sums = new((batch if needs_x else 0, dim), dtype=torch.float32, device=y.device)
    grad_y = new((num_references if needs_y else 0, dim), dtype=y.dtype, device=y.device)
    in_place = y.dtype == torch.float32
    parts = None if in_place or not needs_y else sums.new_empty(width, dim)
    for c, d, columns in _chunks(given, settings, width or 1):
        for a, b in spans(batch, blocks.height):
            k, rows = workspace[: b - a, : d - c], x.span(a, b)
            write_gradient(k, rows, columns, arrived.span(a, b), None, 0, settings)
            if needs_x:
                add_product(sums[a:b], k, columns.data, first=c == 0)
            if needs_y:
                part = grad_y[c:d] if parts is None else parts[: d - c]
                add_product(part, k.T, rows.data, first=a == 0)
                if b == batch:
                    finish(part, columns, grad_y[c:d], normalize=settings.normalize)
    return _finished(sums, x, given.x.dtype, settings) if needs_x else given.x.new_empty(0, dim), grad_y


def _finished(sums: Tensor, x: Rows, dtype: torch.dtype, settings: Settings) -> Tensor:
    out = sums if dtype == torch.float32 else torch.empty_like(sums, dtype=dtype)
    finish(sums, x, out, normalize=settings.normalize)
    return out


def _kernel(formula: str, numbers: Sequence[float]) -> Kernel:
    p0, p1, p2, p3 = numbers
    return Kernel(formula, (p0, p1, p2, p3))


@torch.library.custom_op("circlet::gpu_lse", mutates_args=())
def gpu_lse(
    x: Tensor,
    y: Tensor | None,
    labels: Tensor,
    reference_labels: Tensor | None,
    formula: str,
    numbers: Sequence[float],
    normalize: bool,
    blocks: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """`_forward`."""
    with without_autocast(x):
        return _forward(Operands(x, y, labels, reference_labels), How(_kernel(formula, numbers), normalize, blocks))


@torch.library.custom_op("circlet::gpu_lse_backward", mutates_args=())
def gpu_lse_backward(
    x: Tensor,
    y: Tensor | None,
    labels: Tensor,
    reference_labels: Tensor | None,
    stats: Tensor,
    grads: Tensor,
    needs_x: bool,
    needs_y: bool,
    formula: str,
    numbers: Sequence[float],
    normalize: bool,
    blocks: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """`_backward`."""
    with without_autocast(x):
        given, how = Operands(x, y, labels, reference_labels), How(_kernel(formula, numbers), normalize, blocks)
        return _backward(given, stats, grads, (needs_x, needs_y), how)


@gpu_lse.register_fake
def _(x, y, *_):
    return x.new_empty((2, len(x)), dtype=torch.float32), x.new_empty((2, 2, len(x)), dtype=torch.float32)


@gpu_lse_backward.register_fake
def _(x, y, labels, reference_labels, stats, grads, needs_x, needs_y, *_):
    if y is None:
        return x.new_empty(x.shape), x.new_empty(0, x.shape[1])
    return x.new_empty(len(x) if needs_x else 0, x.shape[1]), y.new_empty(len(y) if needs_y else 0, y.shape[1])


def _context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.settings = inputs[4:]
    ctx.set_materialize_grads(False)  # of the stats
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs[:4], output[1])


def _operator_backward(ctx: Any, grads: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    *tensors, stats = ctx.saved_tensors
    grads = torch.zeros_like(stats[0]) if grads is None else grads
    needs = ctx.needs_input_grad[:2]
    grad_x, grad_y = gpu_lse_backward(*tensors, stats, grads, *needs, *ctx.settings)
    return grad_x if needs[0] else None, grad_y if needs[1] else None, *[None] * 6


def _refuse(*_: Any) -> None:
    raise RuntimeError("circlet: the gradient of a GPU loss cannot be differentiated again (double backward); "
                       "circlet.similarity.dense.pair_lse can, for small batches")  # fmt: skip


def _refuse_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


gpu_lse.register_autograd(_operator_backward, setup_context=_context)
gpu_lse_backward.register_autograd(_refuse, setup_context=_refuse_context)
