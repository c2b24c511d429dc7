"""TAR at FAR from scored pairs: which share of the genuine pairs is accepted where few of the impostors are.

Sorting only, for any number of pairs. Thresholds chosen on other pairs than they are judged on are in
`circlet.evaluate.verification`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

FarMode = Literal["nearest", "at_most"]


def tar_at_far(scores: Tensor, is_same: Tensor, fars: Sequence[float], far_mode: FarMode) -> dict[float, float]:
    """The true accept rate for each false accept rate asked for.

    >>> scores, same = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), torch.tensor([True, False, True, True, False])
    >>> tar_at_far(scores, same, [0.1, 0.5], "at_most")
    {0.1: 0.3333333333333333, 0.5: 1.0}
    >>> tar_at_far(scores, same, [0.3], "nearest")
    {0.3: 1.0}

    A point of the ROC for each distinct score s (accept s and above), and one that accepts nothing. "at_most": the
    highest TAR of those points whose FAR is no more than the target. "nearest": the point whose FAR is nearest to the
    target, on either side; of equally near ones that of larger FAR, then TAR. For it, points inside straight runs of
    the ROC are left out, as scikit-learn's `roc_curve` does: that is part of the reference (insightface).

    scores: (num_pairs,), more is more similar.
    is_same: (num_pairs,) booleans on the CPU, both kinds present.
    fars: false accept rates.
    far_mode: "nearest" or "at_most".
    """
    ordered, order = scores.cpu().sort(descending=True)
    genuine = is_same[order]
    last_of_equals = torch.ones_like(genuine)
    torch.ne(ordered[1:], ordered[:-1], out=last_of_equals[:-1])
    del ordered, order
    place = last_of_equals.nonzero().squeeze(1)
    num_true = genuine.cumsum(0)[place]
    num_false = place + 1 - num_true
    del genuine, last_of_equals, place
    if far_mode == "nearest" and len(num_true) > 2:
        bends = torch.ones(len(num_true), dtype=torch.bool)
        bends[1:-1] = (num_true.diff(n=2) != 0) | (num_false.diff(n=2) != 0)
        num_true, num_false = num_true[bends], num_false[bends]
    start = num_true.new_zeros(1)
    tar = torch.cat([start, num_true]) / num_true[-1].double()
    far = torch.cat([start, num_false]) / num_false[-1].double()
    # Both ascend. Of the points of one FAR the last has the largest TAR.
    found = {}
    for target in fars:
        place = torch.searchsorted(far, torch.tensor(target, dtype=far.dtype), right=True) - 1  # FAR <= target
        if far_mode == "nearest" and place + 1 < len(far):
            above = torch.searchsorted(far, far[place + 1], right=True) - 1
            if (far[above] - target).abs() <= (far[place] - target).abs():
                place = above
        found[target] = tar[place].item()
    return found
