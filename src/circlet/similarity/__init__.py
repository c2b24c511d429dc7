"""Similarity: the seam between the paper and its speed.

Everything above this package is the paper; everything in it computes one thing, `pair_lse`: for each anchor the two
log-sum-exps of its positive and of its negative logits. How (densely, in tiles, on a GPU, over ranks) is decided
here and nowhere else.

| file        | what it is                                                                              |
|-------------|-----------------------------------------------------------------------------------------|
| pairs       | what goes in and comes out: `Pairs`, `Rule`, `PairLse`                                    |
| dense       | the readable twin: the whole matrix, differentiated by autograd                         |
| whole       | one matrix again, differentiated by hand: small problems                                |
| tiles       | the same without the matrix: chooses the form and the size of the tiles                 |
| symmetric   | form: the batch against itself, one triangle in both passes                             |
| cross       | form: anchors against class weights, a memory bank or any other references              |
| across      | form: a rank's own rows against those of all ranks, in both directions                   |
| hardest     | form: the maximum, by search                                                            |
| blocks      | the elementwise part of a tile, forward and backward                                    |
| curves      | one side of a rule in the fewest passes; log-sum-exp                                    |
| kinds       | which pairs are positive; which tiles need no mask                                      |
| rows        | rows to unit length, and their gradient back                                            |
| kept        | tiles that the forward pass leaves to the backward pass                                 |
| spec        | a rule as an operator can carry it                                                      |
| operators   | the operators' rules for autograd and torch.compile                                     |
| gpu/        | the same by Triton kernels; so far only run in Triton's interpreter, hence off          |
"""

import os

import torch

from circlet.similarity import dense, gpu, tiles, whole
from circlet.similarity.pairs import PairLse, Pairs, Rule, Statistic, merge, union
from circlet.similarity.spec import spec_of

__all__ = ["PairLse", "Pairs", "Rule", "Statistic", "merge", "pair_lse", "union"]

# Up to so many pairs one matrix is faster than tiles (measured to 640 x 640, 64 x 4000, 512 x 1000), in 16 MiB or so.
WHOLE_PAIRS = 2**19

# The Triton kernels agree with the dense twin in Triton's interpreter, but have not run on a GPU yet: by choice only.
USE_TRITON = os.environ.get("CIRCLET_TRITON") == "1"


def pair_lse(pairs: Pairs, rule: Rule, *, normalize: bool, statistic: Statistic = "logsumexp") -> PairLse:
    """Statistic of the positive and of the negative logits of each anchor: `dense.pair_lse`, by the fastest way.

    Small problems go whole, large ones in tiles; a rule that neither can carry (`spec_of`) always goes densely.
    """
    num_references = len(pairs.anchors if pairs.references is None else pairs.references)
    if spec_of(rule) is None or not num_references:
        return dense.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)
    if len(pairs.anchors) * num_references <= WHOLE_PAIRS:
        if statistic == "max" or torch.compiler.is_compiling():
            return dense.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)
        return whole.pair_lse(pairs, rule, normalize=normalize)
    if USE_TRITON and gpu.supports(pairs, rule, statistic):
        return gpu.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)
    return tiles.pair_lse(pairs, rule, normalize=normalize, statistic=statistic)
