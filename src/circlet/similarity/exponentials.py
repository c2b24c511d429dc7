"""Exponentials of logits in short form, through 2^x, which torch computes nearly three times as fast as e^x."""

from functools import lru_cache

import torch
from torch import Tensor

from circlet.similarity.native import Exponent
from circlet.similarity.short_form import ShortForm

LOG2E = 1.4426950408889634


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), exact: above 40, where it is the identity, and at -inf too; at torch's 20 the error is 2e-9."""
    return torch.nn.functional.softplus(x, threshold=40.0)


def rate(side: ShortForm, dtype: torch.dtype) -> float:
    """Scale in units of log2 e, as rounded by tensors of this dtype: both passes must use the same number."""
    return _rounded(side.scale * LOG2E, dtype)


@lru_cache(maxsize=64)
def _rounded(number: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(number, dtype=dtype))


def exponent_of(side: ShortForm, dtype: torch.dtype) -> Exponent:
    """How the logits of a side are written as powers of 2."""
    factor = rate(side, dtype)
    return Exponent(factor, side.scale / factor, side.offset)


def logsumexp(q: Tensor, dim: int, side: ShortForm, out: Tensor) -> Tensor:
    """Log of the sum of e^logit along `dim`, in fp64: its rounding is left to whoever adds the tiles up.

    The shift is taken back exactly as it was subtracted, so it costs no accuracy. out: a buffer of the shape of `q`.
    """
    factor, scale, offset = exponent_of(side, q.dtype)
    peak = q.amax(dim, keepdim=True)
    shift = torch.where(peak == -torch.inf, 0.0, peak * -factor)
    total = torch.add(shift, q, alpha=factor, out=out).exp2_().sum(dim)
    return (total.double().log2() - shift.squeeze(dim).double()) * scale + offset
