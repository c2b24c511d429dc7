"""Verification of pairs: is it the same person? Accuracy and TAR@FAR over folds, as on LFW, AgeDB, CFP and YTF.

The threshold is chosen on all folds but one and judged on that one (Huang et al., "Labeled Faces in the Wild", 2007).
Sets of images compared as templates are in `circlet.evaluate.templates`; reading pair files is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from circlet.evaluate.checks import check_fractions, checked_embeddings, checked_labels, checked_same, unit_rows

__all__ = ["VerificationMetrics", "verification", "video_embeddings"]

# Squared Euclidean distances of unit rows. (numpy, so that they are those of the reference to the last bit.)
_ACCURACY_THRESHOLDS = torch.from_numpy(np.arange(0, 4, 0.01))
_FAR_THRESHOLDS = torch.from_numpy(np.arange(0, 4, 0.001))


@dataclass(frozen=True, eq=False)
class VerificationMetrics:
    """What `verification` found; rates are fractions in [0, 1], thresholds squared distances in [0, 4].

    accuracy: mean over folds of the held-out accuracy.
    accuracy_std: its standard deviation over folds (divided by the number of folds).
    fold_accuracy: (folds,) float64, the held-out accuracies.
    fold_threshold: (folds,) float64, their thresholds: a pair is the same if its distance is below.
    tar_at_far: {FAR asked for on the other folds: mean held-out TAR} (VAL@FAR).
    tar_std_at_far: {the same: standard deviation over folds}.
    far_found: {the same: mean held-out FAR}.
    fold_far_threshold: {the same: (folds,) float64 thresholds}.
    roc: (400, 2) float64, mean held-out (FAR, TAR) at the thresholds 0, 0.01, ..., 3.99.
    """

    accuracy: float
    accuracy_std: float
    fold_accuracy: Tensor
    fold_threshold: Tensor
    tar_at_far: dict[float, float]
    tar_std_at_far: dict[float, float]
    far_found: dict[float, float]
    fold_far_threshold: dict[float, Tensor]
    roc: Tensor


@torch.no_grad()
def verification(
    embeddings: Tensor,
    is_same: Tensor | Sequence[bool],
    *,
    folds: int = 10,
    fars: Sequence[float] = (1e-3,),
) -> VerificationMetrics:
    r"""Accuracy and TAR@FAR of pairs, each fold judged with the threshold of the others.

    >>> pairs = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]).repeat(10, 1)
    >>> metrics = verification(pairs, [True, False] * 10)
    >>> metrics.accuracy, metrics.tar_at_far
    (1.0, {0.001: 1.0})

    Pair i is rows 2i and 2i+1; folds are contiguous, the first ones longer by one if they cannot be equal. A pair
    is accepted as the same if its squared Euclidean distance (unit rows) is below the threshold:

        accuracy  at the threshold of highest training accuracy among 0, 0.01, ..., the smallest of equals
        TAR@FAR   at the threshold where the training FAR, linear between its values at 0, 0.001, ..., first reaches
                  the FAR asked for; at 0, which accepts nothing, if it never does

    as in insightface's `verification.py` (VAL@FAR there). For its flip test, pass the sum of the embeddings of each
    image and its mirror image, neither of them normalised before.

    embeddings: (2 num_pairs, dim), any float dtype and device; normalised inside, in float64.
    is_same: (num_pairs,) booleans.
    folds: from 2 to num_pairs; each needs pairs of both kinds.
    fars: false accept rates in (0, 1].

    Raises ValueError: a wrong shape or dtype, an odd number of rows, an embedding that is not finite, folds out of
        range or without pairs of both kinds, a FAR out of range.
    """
    checked_embeddings("embeddings", embeddings)
    if len(embeddings) % 2:
        raise ValueError(f"embeddings: found {len(embeddings)} rows, expected an even number (pair i is rows 2i, 2i+1)")
    num_pairs = len(embeddings) // 2
    same = checked_same(is_same, num_pairs)
    check_fractions("fars", fars)
    if not 2 <= folds <= num_pairs:
        raise ValueError(f"folds: found {folds}, expected 2 to {num_pairs}, the number of pairs")
    fold = torch.from_numpy(np.repeat(np.arange(folds), [len(x) for x in np.array_split(np.arange(num_pairs), folds)]))
    num_same, num_different = (fold[kind].bincount(minlength=folds) for kind in (same, ~same))
    for kind, counts in (("same", num_same), ("different", num_different)):
        if (counts == 0).any():
            empty = int((counts == 0).nonzero()[0])
            raise ValueError(
                f"is_same: found no {kind} pair in fold {empty}, expected pairs of both kinds in each fold"
            )

    first, second = unit_rows(embeddings.double()).unflatten(0, (num_pairs, 2)).unbind(1)
    distances = (first - second).square().sum(dim=1).cpu()

    true_accepts, false_accepts = _accepts(distances, fold, same, _ACCURACY_THRESHOLDS, folds)
    correct = true_accepts + num_different[:, None] - false_accepts
    threshold = (correct.sum(dim=0) - correct).argmax(dim=1)  # of the other folds, the first of equals
    fold_accuracy = correct[torch.arange(folds), threshold] / (num_same + num_different).double()
    roc = torch.stack(
        [false_accepts / num_different[:, None].double(), true_accepts / num_same[:, None].double()], dim=2
    )

    true_accepts, false_accepts = _accepts(distances, fold, same, _FAR_THRESHOLDS, folds)
    training_far = (false_accepts.sum(dim=0) - false_accepts) / (num_different.sum() - num_different)[:, None].double()
    tar, far, chosen = {}, {}, {}
    for target in fars:
        chosen[target] = torch.stack([_where_it_reaches(rates, target) for rates in training_far])
        accepted = distances < chosen[target][fold]
        tar[target] = fold[accepted & same].bincount(minlength=folds) / num_same.double()
        far[target] = fold[accepted & ~same].bincount(minlength=folds) / num_different.double()
    return VerificationMetrics(
        accuracy=fold_accuracy.mean().item(),
        accuracy_std=fold_accuracy.std(correction=0).item(),
        fold_accuracy=fold_accuracy,
        fold_threshold=_ACCURACY_THRESHOLDS[threshold],
        tar_at_far={target: rates.mean().item() for target, rates in tar.items()},
        tar_std_at_far={target: rates.std(correction=0).item() for target, rates in tar.items()},
        far_found={target: rates.mean().item() for target, rates in far.items()},
        fold_far_threshold=chosen,
        roc=roc.mean(dim=0),
    )


@torch.no_grad()
def video_embeddings(frames: Tensor, video_ids: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
    """One embedding for each video: the mean of those of its frames, scaled to length 1 (YouTube Faces).

    >>> videos, ids = video_embeddings(torch.tensor([[3.0, 0.0], [0.0, 1.0], [3.0, 8.0]]), [7, 5, 7])
    >>> videos, ids
    (tensor([[0.0000, 1.0000],
             [0.6000, 0.8000]]), tensor([5, 7]))

    For `verification`, index them by pairs of videos: `videos[torch.searchsorted(ids, pairs.flatten())]`.

    frames: (n, dim), any float dtype and device, not normalised here before the mean.
    video_ids: (n,) integers, the video of each frame, in any order.

    Gives (num_videos, dim) unit rows in float32 (float64 for float64), and their (num_videos,) ids, ascending.

    Raises ValueError: a wrong shape or dtype, a frame that is not finite.
    """
    labels = checked_labels("video_ids", video_ids, checked_embeddings("frames", frames))
    ids, video = labels.unique(return_inverse=True)
    dtype = torch.promote_types(frames.dtype, torch.float32)
    total = torch.zeros(len(ids), frames.shape[1], dtype=dtype, device=frames.device)
    return unit_rows(total.index_add_(0, video, frames.to(dtype))), ids


def _accepts(distances: Tensor, fold: Tensor, same: Tensor, thresholds: Tensor, folds: int) -> tuple[Tensor, Tensor]:
    """(folds, thresholds) numbers of pairs below each threshold: of those that are the same, and of the others."""
    first_accepting = torch.searchsorted(thresholds, distances, right=True)
    width = len(thresholds) + 1
    cells = (fold * 2 + same.long()) * width + first_accepting
    counts = cells.bincount(minlength=folds * 2 * width).view(folds, 2, width)[:, :, :-1].cumsum(dim=2)
    return counts[:, 1], counts[:, 0]


def _where_it_reaches(far: Tensor, target: float) -> Tensor:
    """The threshold at which the ascending `far`, at _FAR_THRESHOLDS and linear between, first reaches the target."""
    place = int(torch.searchsorted(far, target))
    if place == len(far):
        return far.new_tensor(0.0)
    low, high = far[place - 1], far[place]  # far[0] is 0: no distance is below 0
    below, above = _FAR_THRESHOLDS[place - 1], _FAR_THRESHOLDS[place]
    return below + (above - below) / (high - low) * (target - low)
