"""The rules of `circlet.rules` in Triton: logit and slope of a tile of similarities.

`RULE`, the name of a rule's formula (`Rule.kernel`), is a compile-time constant, its numbers are not: a margin or a
scale that changes while training compiles nothing anew. What a kernel does not use (the slope, forward) is dropped by
the compiler.

Both passes must round a logit alike (see `tile.similarities`). So where a product meets a sum, in here or in what a
kernel does next, it says by itself whether the two are fused; left to the compiler, the kernels could differ.
"""

import triton
import triton.language as tl

SMALLEST_SINE = tl.constexpr(1e-3)  # as in circlet.rules


@triton.jit
def rounded(a, b):
    """Product, rounded: the compiler does not fuse it with a sum that follows, as it may a product."""
    return tl.fma(a, b, 0.0)


@triton.jit
def positive(s, p0, p1, p2, p3, RULE: tl.constexpr):
    """Logits and slopes of positives with similarities `s`."""
    if RULE == "Circle":
        slope = -p0 * tl.maximum(p3 - s, 0.0)
        logit = rounded(slope, s - p2)
    elif RULE == "AngularMargin":
        beyond = s < -p1
        room = tl.fma(-s, s, 1.0)
        sine = tl.sqrt(tl.maximum(room, SMALLEST_SINE * SMALLEST_SINE))
        cotangent = tl.where(room > SMALLEST_SINE * SMALLEST_SINE, s / sine, 0.0)
        logit = rounded(-p0, tl.where(beyond, s - p3, tl.fma(s, p1, -rounded(sine, p2))))
        slope = -p0 * tl.where(beyond, 1.0, p1 + cotangent * p2)
    elif RULE == "TwoScales":
        logit = rounded(-p0, s - p2)
        slope = tl.zeros_like(s) - p0
    else:
        tl.static_assert(RULE == "ConstantMargin")
        logit = rounded(-p0, s - p1)
        slope = tl.zeros_like(s) - p0
    return logit, slope


@triton.jit
def negative(s, p0, p1, p2, p3, RULE: tl.constexpr):
    """Logits and slopes of negatives with similarities `s`."""
    if RULE == "Circle":
        slope = p0 * tl.maximum(s + p1, 0.0)
        logit = rounded(slope, s - p1)
    elif RULE == "TwoScales":
        logit = rounded(p1, s - p2)
        slope = tl.zeros_like(s) + p1
    else:
        tl.static_assert(RULE == "ConstantMargin" or RULE == "AngularMargin")
        logit = rounded(p0, s)
        slope = tl.zeros_like(s) + p0
    return logit, slope
