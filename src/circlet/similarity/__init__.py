"""Similarity: the seam between the paper and its speed.

Everything above this package is the paper; everything in it computes one thing, `pair_lse`: for each anchor the two
log-sum-exps of its positive and of its negative logits. How (densely, in tiles, on a GPU, over ranks) is decided
here and nowhere else.
"""

from circlet.similarity.dense import pair_lse
from circlet.similarity.pairs import PairLse, Pairs, Rule, Statistic, merge

__all__ = ["PairLse", "Pairs", "Rule", "Statistic", "merge", "pair_lse"]
