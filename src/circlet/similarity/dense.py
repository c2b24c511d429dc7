"""The dense backend: the whole (batch, references) matrix at once, differentiated by autograd.

The readable twin of every faster backend, and their oracle in the tests: exact in fp64. Memory is O(batch x
references). It does no tiling and knows no rule by name.
"""

import torch
from torch import Tensor

from circlet.similarity.pairs import PairLse, Pairs, Rule, Statistic, masks
from circlet.similarity.rows import unit_rows

# Of a loss under a transform, in a few GiB: neither tiles nor blocks, which compute again backward, can be transformed.
TRANSFORMED_PAIRS = 2**26


def pair_lse(pairs: Pairs, rule: Rule, *, normalize: bool, statistic: Statistic = "logsumexp") -> PairLse:
    """Statistic of the positive and of the negative logits of each anchor.

    normalize: cosine similarity if true, inner product if not. Computed in fp32 (fp64 if an operand is fp64),
    whatever the autocast state: 16-bit similarities cost 13 % of the gradient near convergence.
    """
    with torch.autocast(pairs.anchors.device.type, enabled=False):
        s = similarities(pairs.anchors, pairs.references, normalize=normalize)
        positive, negative = masks(pairs)
        return PairLse(
            _statistic(torch.where(positive, rule.positive(s), -torch.inf), statistic),
            _statistic(torch.where(negative, rule.negative(s), -torch.inf), statistic),
        )


def similarities(anchors: Tensor, references: Tensor | None, *, normalize: bool) -> Tensor:
    """(batch, num_references) similarities in at least fp32; references None: the anchors themselves."""
    dtype = torch.promote_types(anchors.dtype, torch.float32)
    if references is not None:
        dtype = torch.promote_types(dtype, references.dtype)
    x = rows_of(anchors.to(dtype), normalize)
    return x @ (x if references is None else rows_of(references.to(dtype), normalize)).T


def rows_of(x: Tensor, normalize: bool) -> Tensor:
    """The rows as they are multiplied."""
    return unit_rows(x) if normalize else x


def check_transformed(num_pairs: int) -> None:
    """NotImplementedError for more pairs than one matrix should have, of a loss under a transform."""
    if num_pairs > TRANSFORMED_PAIRS:
        raise NotImplementedError(
            f"circlet: found a loss of {num_pairs:,} pairs under forward-mode differentiation or a transform of "
            f"torch.func, expected at most {TRANSFORMED_PAIRS:,}: it needs all similarities at once; backward() and "
            "torch.autograd.grad do not"
        )


def _statistic(logits: Tensor, statistic: Statistic) -> Tensor:
    if logits.shape[1] == 0:
        return logits.new_full((len(logits),), -torch.inf) + logits.sum(1)
    return logits.logsumexp(1) if statistic == "logsumexp" else logits.amax(1)
