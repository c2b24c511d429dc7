"""The two operators of the GPU backend, forward and backward, with their rules for autograd and torch.compile.

The backward operator goes over chunks of K. Against references, column chunks are outside: the gradient of a chunk
of references is finished before the next one. Pair-wise (references None) both passes go over the chunks on and above
the diagonal (`triangle`), and each serves its rows and its columns. The backward operator refuses to be differentiated.

Legend: B batch, C references, D dim. stats (2, 2, B): peaks and totals (see `merge`) of positives and negatives;
inverse (B + C,): 1 / lengths.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from circlet.similarity.cross import spans
from circlet.similarity.gpu.blocks import Blocks, blocks_of, product_dtype, workspace_dtype
from circlet.similarity.gpu.cross import cross_stats
from circlet.similarity.gpu.gradient import terms_of, write_gradient
from circlet.similarity.gpu.product import add_product, finish, new_sums
from circlet.similarity.gpu.symmetric import symmetric_stats
from circlet.similarity.gpu.tile import Rows, prepare
from circlet.similarity.symmetric import triangle


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exps (2, B) of the positives and of the negatives; stats and inverse, for the backward pass.

    formula, numbers: the rule's `Kernel`. blocks: `Blocks`, or nothing for `blocks_of`.
    """
    with torch.cuda.device_of(x), torch.autocast(x.device.type, enabled=False):
        anchors = prepare(x, labels, None, normalize=normalize)
        settings = product_dtype(x, y), formula, list(numbers), Blocks(*blocks) if blocks else blocks_of(x, y)
        if y is None:
            stats, inverse = symmetric_stats(anchors, *settings), anchors.inverse
        else:
            assert reference_labels is not None
            references = prepare(y, reference_labels, None, normalize=normalize)
            stats = cross_stats(anchors, references, *settings)
            inverse = torch.cat([anchors.inverse, references.inverse])
        peak, total = stats
        return torch.where(total == 0, -torch.inf, peak + total.log()), stats, inverse


@torch.library.custom_op("circlet::gpu_lse_backward", mutates_args=())
def gpu_lse_backward(
    x: Tensor,
    y: Tensor | None,
    labels: Tensor,
    reference_labels: Tensor | None,
    stats: Tensor,
    inverse: Tensor,
    grads: Tensor,
    needs_x: bool,
    needs_y: bool,
    formula: str,
    numbers: Sequence[float],
    normalize: bool,
    blocks: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Gradients of x (B, D) and of y (C, D), each in its dtype; without rows where not needed."""
    with torch.cuda.device_of(x), torch.autocast(x.device.type, enabled=False):
        anchors = prepare(x, labels, inverse[: len(x)], normalize=normalize)
        terms = terms_of(stats, grads)
        settings = product_dtype(x, y), formula, list(numbers), Blocks(*blocks) if blocks else blocks_of(x, y)
        if y is None:
            return _pair_backward(anchors, terms, *settings, normalize=normalize), x.new_empty(0, x.shape[1])
        assert reference_labels is not None
        references = prepare(y, reference_labels, inverse[len(x) :], normalize=normalize)
        return _cross_backward(anchors, references, terms, *settings, needs=(needs_x, needs_y), normalize=normalize)


def _pair_backward(x: Rows, terms: Tensor, dtype: torch.dtype, formula: str, numbers: list[float], blocks: Blocks, *,
                   normalize: bool) -> Tensor:  # fmt: skip
    batch, step = len(x.data), blocks.height
    workspace = x.data.new_empty((min(step, batch),) * 2, dtype=workspace_dtype(dtype))
    sums = new_sums(x.data, batch, step, min(step, batch), blocks)
    for a, b, c, d in triangle(batch, step, step):
        k = workspace[: b - a, : d - c]
        rows, columns = x.span(a, b), x.span(c, d)
        write_gradient(k, rows, columns, terms[:, a:b], terms[:, c:d], c - a, dtype, formula, numbers, blocks)
        add_product(sums[:, a:b], k, columns.data, blocks)
        if c != a:
            add_product(sums[:, c:d], k.T, rows.data, blocks)
    return finish(sums, x, normalize=normalize)


def _cross_backward(x: Rows, y: Rows, terms: Tensor, dtype: torch.dtype, formula: str, numbers: list[float],
                    blocks: Blocks, *, needs: tuple[bool, bool], normalize: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    needs_x, needs_y = needs
    (batch, dim), num_references = x.data.shape, len(y.data)
    height, width = min(blocks.height, batch), min(blocks.width, num_references)
    workspace = x.data.new_empty((height, width), dtype=workspace_dtype(dtype))
    grad_y = y.data.new_empty(num_references if needs_y else 0, dim)
    sums = new_sums(x.data, batch if needs_x else 0, blocks.height, width, blocks)
    parts = new_sums(y.data, width if needs_y else 0, width, height, blocks)
    for c, d in spans(num_references, blocks.width):
        parts.zero_()
        columns = y.span(c, d)
        for a, b in spans(batch, blocks.height):
            k = workspace[: b - a, : d - c]
            rows = x.span(a, b)
            write_gradient(k, rows, columns, terms[:, a:b], None, None, dtype, formula, numbers, blocks)
            if needs_x:
                add_product(sums[:, a:b], k, columns.data, blocks)
            if needs_y:
                add_product(parts[:, : d - c], k.T, rows.data, blocks)
        if needs_y:
            finish(parts[:, : d - c], columns, grad_y[c:d], normalize=normalize)
    return finish(sums, x, normalize=normalize) if needs_x else x.data.new_empty(0, dim), grad_y


@gpu_lse.register_fake
def _(x, y, *_):
    num_rows = len(x) if y is None else len(x) + len(y)
    new = {"dtype": torch.float32, "device": x.device}
    return torch.empty(2, len(x), **new), torch.empty(2, 2, len(x), **new), torch.empty(num_rows, **new)


@gpu_lse_backward.register_fake
def _(x, y, labels, reference_labels, stats, inverse, grads, needs_x, needs_y, *_):
    if y is None:
        return x.new_empty(x.shape), x.new_empty(0, x.shape[1])
    return x.new_empty(len(x) if needs_x else 0, x.shape[1]), y.new_empty(len(y) if needs_y else 0, x.shape[1])


def _context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.settings = inputs[4:]
    ctx.set_materialize_grads(False)  # of stats and inverse
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*inputs[:4], *output[1:])


def _backward(ctx: Any, grads: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    *tensors, stats, inverse = ctx.saved_tensors
    grads = torch.zeros_like(stats[0]) if grads is None else grads
    needs = ctx.needs_input_grad[:2]
    grad_x, grad_y = gpu_lse_backward(*tensors, stats, inverse, grads, *needs, *ctx.settings)
    return grad_x if needs[0] else None, grad_y if needs[1] else None, *[None] * 6


def _refuse(*_: Any) -> None:
    raise RuntimeError("circlet: the gradient of a GPU loss cannot be differentiated again (double backward); "
                       "circlet.similarity.dense.pair_lse can, for small batches")  # fmt: skip


def _refuse_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    pass


gpu_lse.register_autograd(_backward, setup_context=_context)
gpu_lse_backward.register_autograd(_refuse, setup_context=_refuse_context)
