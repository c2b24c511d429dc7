"""Row blocks: anchors against all their references, some anchors at a time, for what no tile can carry.

A loss whose anchors need to see all their pairs at once (a mean over the positives, the best of a class's references)
is computed densely, for as many anchors as fit into `BLOCK_PAIRS`; the backward pass computes each block again. So the
memory is that of a block, and of the references' unit rows, instead of the whole matrix. Under a transform of
torch.func, or forward-mode differentiation, all anchors are one block.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from circlet.similarity.dense import check_transformed, rows_of
from circlet.similarity.pairs import Pairs, masks
from circlet.similarity.rows import compute_dtype, is_transformed, without_autocast

BLOCK_PAIRS = 2**21

# (similarities, positive, negative) (rows, references of all sources), norms (rows, 1), first row -> (rows,) each
Evaluate = Callable[[Tensor, Tensor, Tensor, Tensor, int], Sequence[Tensor]]


def in_row_blocks(
    sources: Sequence[Pairs], evaluate: Evaluate, *, normalize: bool, block_pairs: int = BLOCK_PAIRS
) -> list[Tensor]:
    """What `evaluate` gives for blocks of anchors, put together along dim 0.

    sources: pairs of the same anchors with one or more sets of references, which follow each other in the columns.
    """
    anchors = sources[0].anchors
    with without_autocast(anchors):
        dtype = compute_dtype(anchors, *(pairs.references for pairs in sources if pairs.references is not None))
        x = anchors.to(dtype)
        references = [
            rows_of(x if pairs.references is None else pairs.references.to(dtype), normalize) for pairs in sources
        ]

        def block(rows: Tensor, first: int, *references: Tensor) -> tuple[Tensor, ...]:
            norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
            unit = rows_of(rows, normalize)
            s = torch.cat([unit @ y.T for y in references], 1)
            sides = [masks(pairs, first, first + len(rows)) for pairs in sources]
            positive, negative = (torch.cat(side, 1) for side in zip(*sides, strict=True))
            return tuple(evaluate(s, positive, negative, norms, first))

        num_references = sum(map(len, references))
        height = max(1, block_pairs // max(1, num_references))
        transformed = is_transformed()  # which no block can be that is computed again
        if transformed:
            check_transformed(len(x) * num_references)
        if len(x) <= height or transformed:
            return list(block(x, 0, *references))
        parts = [
            checkpoint(block, x[first : first + height], first, *references, use_reentrant=False,
                       preserve_rng_state=False)
            for first in range(0, len(x), height)
        ]  # fmt: skip
        return [torch.cat(values) for values in zip(*parts, strict=True)]
