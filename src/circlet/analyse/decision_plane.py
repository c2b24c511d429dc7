"""The (s_n, s_p) plane: loss and gradients of one anchor with one positive and one negative, by autograd.

Nothing here knows a formula. For each point of the plane three unit vectors are made that have just these cosines,
the loss is called on them as any user would call it, and its gradient is taken through it. So what Figures 1 and 2
show is what training does, detached weights (Eq. 9 and 10) and all. A loss whose anchors are the references (proxies)
gets the anchor as its one reference, and the other two as samples. Where a loss looks at the length of an anchor, it
is 1 here.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circlet.analyse.boundary import decision
from circlet.losses import Form, PairLoss

Array = NDArray[np.float64]

# The cosines themselves are the variables, and sqrt(1 - s^2) has no derivative at +-1: the plane ends just inside.
EDGE = 1.0 - 1e-9


class Plane(NamedTuple):
    """A loss over the plane. Each is (len(s_p), len(s_n)): rows are s_p, columns s_n.

    loss: of the one anchor. gradient_n, gradient_p: dL/ds_n and dL/ds_p. decision: 0 or below past the boundary.
    """

    s_n: Array
    s_p: Array
    loss: Array
    gradient_n: Array
    gradient_p: Array
    decision: Array


class Point(NamedTuple):
    """Loss and gradients at one point of the plane."""

    loss: float
    gradient_n: float
    gradient_p: float


def at_point(loss: PairLoss, s_n: float, s_p: float) -> Point:
    """Loss of an anchor with one negative at cosine `s_n` and one positive at `s_p` (-1 to 1), and its gradients.

    >>> from circlet import CircleLoss
    >>> at_point(CircleLoss(margin=0.25, gamma=1.0), s_n=0.5, s_p=0.5)
    Point(loss=0.898..., gradient_n=0.444..., gradient_p=-0.444...)

    Computed in fp64. At +-1 itself the values are those 1e-9 inside.
    """
    for name, value in (("s_n", s_n), ("s_p", s_p)):
        if not -1 <= value <= 1:
            raise ValueError(f"{name}: found {value}, expected a cosine similarity, -1 to 1")
    cosines = torch.tensor([s_p, s_n], dtype=torch.float64).clamp(-EDGE, EDGE).requires_grad_()
    rows = vectors(cosines)
    anchor, others = (rows[0], torch.tensor([0])), (rows[1], torch.tensor([0, 1]))
    samples, references = (others, anchor) if loss.form().anchors == "references" else (anchor, others)
    training = loss.training
    try:  # a look at a loss does not move the means that it may keep
        value = loss.eval()(*samples, *references)
    finally:
        loss.train(training)
    (gradient,) = torch.autograd.grad(value, cosines)
    return Point(value.item(), gradient[1].item(), gradient[0].item())


def plane(loss: PairLoss, s_n: Array, s_p: Array) -> Plane:
    """The loss at every combination of `s_n` and `s_p` (1-D arrays, -1 to 1); a thousand points take a second."""
    points = np.array([[at_point(loss, float(n), float(p)) for n in s_n] for p in s_p])
    return Plane(s_n, s_p, points[..., 0], points[..., 1], points[..., 2], decisions(loss.form(), s_n, s_p))


def decisions(form: Form, s_n: Array, s_p: Array) -> Array:
    """`decision` at every combination of `s_n` and `s_p`: (len(s_p), len(s_n)), 0 or below past the boundary."""
    found: Array = decision(form, torch.from_numpy(s_n)[None, :], torch.from_numpy(s_p)[:, None]).numpy()
    return found


def vectors(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """A unit anchor (1, dim) and unit references (k, dim) that have the given `cosines` (k,), differentiable in them.

    Each reference leaves the anchor in a direction of its own: dim = 1 + k.
    """
    anchor = torch.eye(1, 1 + len(cosines), dtype=cosines.dtype)
    return anchor, torch.cat([cosines[:, None], torch.diag((1 - cosines * cosines).sqrt())], dim=1)
