"""Similarity: the seam between the paper and its speed.

Everything above this package is the paper; everything in it computes one thing, `pair_lse`: for each anchor the two
log-sum-exps of its positive and of its negative logits. How (densely, in tiles, on a GPU, over ranks) is decided
here and nowhere else.

| file        | what it is                                                                              |
|-------------|-----------------------------------------------------------------------------------------|
| pairs       | what goes in and comes out: `Pairs`, a `Rule`, `PairLse`                                |
| short_form  | the sides of a rule in the fewest passes, which a rule may offer to the tiles           |
| dense       | the readable twin: the whole matrix, differentiated by autograd                         |
| row_blocks  | some anchors against all their references at a time: what no tile can carry             |
| whole       | one matrix again, differentiated by hand: small problems                                |
| tiles       | the same without the matrix: chooses the form and the size of the tiles                 |
| symmetric   | form: the batch against itself, one triangle in both passes                             |
| cross       | form: anchors against class weights, a memory bank or any other references              |
| across      | form: a rank's own rows against those of all ranks, in both directions                   |
| hardest     | form: the maximum, by search                                                            |
| blocks      | how large tiles are, and the blocks of one                                              |
| sums        | the elementwise part of a tile, forward                                                 |
| gradients   | the elementwise part of a tile, backward                                                |
| native/     | both in one pass, by kernels in C: on a CPU with a compiler                             |
| exponentials | the log-sum-exp of a tile, through 2^x                                                   |
| positives   | which pairs of a tile are positive; which tiles need no mask                            |
| rows        | rows to unit length, and their gradient back                                            |
| kept        | tiles that the forward pass leaves to the backward pass                                 |
| spec        | a rule as an operator of compiled code can carry it                                     |
| operators   | the tiled forms for autograd, and as operators for torch.compile                        |
| gpu/        | the same by Triton kernels: what CUDA devices run above some size                       |
"""

import os
from typing import Literal

import torch

from circlet.similarity import dense, gpu, tiles, whole
from circlet.similarity.pairs import PairLse, Pairs, Rule, Statistic, masks, merge, union
from circlet.similarity.row_blocks import in_row_blocks
from circlet.similarity.rows import is_transformed, unit_rows
from circlet.similarity.spec import spec_of

__all__ = [
    "PairLse",
    "Pairs",
    "Rule",
    "Statistic",
    "in_row_blocks",
    "is_transformed",
    "masks",
    "mean_softplus",
    "merge",
    "pair_lse",
    "union",
    "unit_rows",
]

# Up to so many pairs one matrix is faster than tiles (measured to 700 x 700, 64 x 8000, 256 x 2000), in 16 MiB or so.
WHOLE_PAIRS = 2**19
# On a GPU (an H100: benchmarks/results/gpu.md) than its kernels, which from 512 x 512 on are faster; and, where these
# cannot do it, than tiles, which up to 4096 x 4096 take longer than one matrix, in 600 MiB or so.
WHOLE_PAIRS_KERNELS = 2**18
WHOLE_PAIRS_GPU = 2**24

# CIRCLET_TRITON=0: no Triton kernels.
USE_TRITON = os.environ.get("CIRCLET_TRITON") != "0"


def pair_lse(pairs: Pairs, rule: Rule, *, normalize: bool, statistic: Statistic = "logsumexp") -> PairLse:
    """Statistic of the positive and of the negative logits of each anchor: `dense.pair_lse`, by the fastest way.

    Small problems go whole, large ones in tiles, on a GPU by its kernels if these have the rule. A rule that holds
    tensors goes densely, in compiled code one that no operator can carry (`spec_of`), and everything under forward-mode
    differentiation or a transform of torch.func (NotImplementedError for more than `dense.TRANSFORMED_PAIRS`).
    """
    match _way(pairs, rule, statistic):
        case "densely":
            return dense.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)
        case "whole":
            return whole.pair_lse(pairs, rule, normalize=normalize)
        case "by kernels":
            return gpu.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)
    return tiles.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)


def mean_softplus(pairs: Pairs, rule: Rule, *, normalize: bool) -> torch.Tensor | None:
    """The mean of softplus(pos + neg) of `pair_lse` over the anchors that have both sides, where it is small.

    None: it is not, and `pair_lse` is as fast. At 80 x 80 a loss is what its 30 small operations cost more than what
    they compute, so this one, of which most losses are, has none of them.
    """
    return whole.mean_softplus(pairs, rule, normalize=normalize) if _way(pairs, rule, "logsumexp") == "whole" else None


def _way(pairs: Pairs, rule: Rule, statistic: Statistic) -> Literal["densely", "whole", "by kernels", "in tiles"]:
    compiling = torch.compiler.is_compiling()
    num_pairs = len(pairs.anchors) * pairs.num_references
    by_kernels = USE_TRITON and pairs.anchors.is_cuda and gpu.supports(pairs, rule, statistic)
    small = num_pairs <= _whole_pairs(pairs.anchors, by_kernels=by_kernels)
    densely = small or spec_of(rule) is None if compiling else not rule.is_constant or (small and statistic == "max")
    if is_transformed():
        dense.check_transformed(num_pairs)
        densely = True
    if densely or not num_pairs:
        return "densely"
    if small:
        return "whole"
    return "by kernels" if by_kernels else "in tiles"


def _whole_pairs(x: torch.Tensor, *, by_kernels: bool) -> int:
    if x.device.type == "cpu":
        return WHOLE_PAIRS
    return WHOLE_PAIRS_KERNELS if by_kernels else WHOLE_PAIRS_GPU
