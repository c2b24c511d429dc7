"""Template verification: sets of images of one person against each other, as on IJB-B and IJB-C 1:1.

A template holds still images and video frames; frames of one video (media) count as one image. Scores are made in
blocks, so that the 15.7 million pairs of IJB-C need only the memory of their scores and of sorting these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circlet.evaluate.checks import (
    as_tensor,
    check_fractions,
    checked_embeddings,
    checked_labels,
    checked_same,
    unit_rows,
)
from circlet.evaluate.roc import FarMode, tar_at_far

__all__ = ["TemplateMetrics", "template_embeddings", "template_verification"]

_ROWS = 256  # of templates in a matrix product


@dataclass(frozen=True, eq=False)
class TemplateMetrics:
    """What `template_verification` found.

    tar_at_far: {FAR: TAR}, fractions in [0, 1].
    scores: (num_pairs,) cosine similarity of each pair.
    far_mode: how the points of `tar_at_far` were chosen.
    """

    tar_at_far: dict[float, float]
    scores: Tensor
    far_mode: FarMode


@torch.no_grad()
def template_verification(
    features: Tensor,
    template_ids: Tensor | Sequence[int],
    media_ids: Tensor | Sequence[int],
    pairs: Tensor | Sequence[Sequence[int]],
    is_same: Tensor | Sequence[bool],
    *,
    detector_scores: Tensor | Sequence[float] | None = None,
    fars: Sequence[float] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    far_mode: FarMode = "nearest",
) -> TemplateMetrics:
    """TAR@FAR of pairs of templates, each the embedding of `template_embeddings`, scored by inner product.

    >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.2, 1.0]])
    >>> pairs = [[10, 20], [10, 30], [30, 40]]
    >>> template_verification(features, [10, 20, 30, 40], [1, 2, 3, 4], pairs, [True, False, True]).tar_at_far[1e-3]
    1.0

    Follows insightface's `eval_ijbc.py` (Maze et al., "IARPA Janus Benchmark - C", 2018). Its default: the sum of
    the features of an image and its mirror image, norms kept, times the detector's score.

    features: (num_images, dim), as in `template_embeddings`, like the next two.
    template_ids: (num_images,) integers.
    media_ids: (num_images,) integers.
    pairs: (num_pairs, 2) integers, template ids.
    is_same: (num_pairs,) booleans, both kinds present.
    detector_scores: (num_images,) floats or None.
    fars: false accept rates in (0, 1].
    far_mode: "nearest" takes the point of the ROC whose FAR is nearest to the target, as the reference does and
        published figures do: with fewer impostors than 1/FAR it may be FAR 0, and it may exceed the target.
        "at_most" takes the highest TAR whose FAR does not exceed the target.

    Raises ValueError: a wrong shape, dtype or device, a feature that is not finite, a pair with an unknown template,
        pairs of one kind only, a FAR out of range, an unknown far_mode.
    """
    checked_pairs = as_tensor("pairs", pairs, "integers (num_pairs, 2)")
    if checked_pairs.ndim != 2 or checked_pairs.shape[1] != 2:
        raise ValueError(f"pairs: found shape {tuple(checked_pairs.shape)}, expected (num_pairs, 2)")
    if checked_pairs.is_floating_point():
        raise ValueError(f"pairs: found dtype {checked_pairs.dtype}, expected integers")
    same = checked_same(is_same, len(checked_pairs))
    if same.all() or not same.any():
        raise ValueError(
            f"is_same: found {int(same.sum())} of {len(same)} pairs the same, expected pairs of both kinds"
        )
    check_fractions("fars", fars)
    if far_mode not in ("nearest", "at_most"):
        raise ValueError(f'far_mode: found {far_mode!r}, expected "nearest" or "at_most"')
    templates, ids = template_embeddings(features, template_ids, media_ids, detector_scores=detector_scores)
    with torch.autocast(templates.device.type, enabled=False):
        scores = _scores(templates, ids, checked_pairs)
    return TemplateMetrics(tar_at_far(scores, same, fars, far_mode), scores, far_mode)


@torch.no_grad()
def template_embeddings(
    features: Tensor,
    template_ids: Tensor | Sequence[int],
    media_ids: Tensor | Sequence[int],
    *,
    detector_scores: Tensor | Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """One embedding for each template: the mean within each of its media, summed over media, scaled to length 1.

    >>> features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [5.0, 0.0]])
    >>> template_embeddings(features, [8, 8, 8, 2], [1, 1, 2, 1])
    (tensor([[1.0000, 0.0000],
             [0.7071, 0.7071]]), tensor([2, 8]))

    features: (num_images, dim), any float dtype and device; their norms count, nothing is normalised before.
    template_ids: (num_images,) integers.
    media_ids: (num_images,) integers; equal ones in different templates are different media.
    detector_scores: (num_images,) floats by which the features are multiplied first, or None.

    Gives (num_templates, dim) unit rows in float32 (float64 for float64), and their (num_templates,) ids, ascending.

    Raises ValueError: a wrong shape or dtype, a feature or detector score that is not finite.
    """
    checked_embeddings("features", features)
    template = checked_labels("template_ids", template_ids, features)
    media = checked_labels("media_ids", media_ids, features)
    dtype = torch.promote_types(features.dtype, torch.float32)
    weight = torch.ones(len(features), dtype=dtype, device=features.device)
    if detector_scores is not None:
        weight = as_tensor("detector_scores", detector_scores, f"({len(features)},)").to(weight)
        if weight.shape != (len(features),) or not weight.isfinite().all():
            raise ValueError(f"detector_scores: found shape {tuple(weight.shape)}, expected finite ({len(features)},)")
    ids, template = template.unique(return_inverse=True)
    media = media.unique(return_inverse=True)[1]
    _, group, count = (template * (media.max() + 1) + media).unique(return_inverse=True, return_counts=True)
    # The sum over media of means is one weighted sum over images.
    weight = weight / count[group]
    templates = torch.zeros(len(ids), features.shape[1], dtype=dtype, device=features.device)
    for rows in torch.arange(len(features), device=features.device).split(16384):
        templates.index_add_(0, template[rows], features[rows].to(dtype) * weight[rows, None])
    return unit_rows(templates), ids


def _scores(templates: Tensor, ids: Tensor, pairs: Tensor) -> Tensor:
    """Inner product of each pair of template ids.

    Looked up in matrix products of some rows at a time with all those that they are paired with: for many pairs a
    template, tens of times as fast as one inner product after the other, for few as fast.
    """
    wanted = pairs.to(ids.device, torch.int64)
    place = torch.searchsorted(ids, wanted).clamp_(max=len(ids) - 1)
    known = ids[place] == wanted
    if not known.all():
        raise ValueError(f"pairs: found template {int(wanted[~known][0])}, expected only those of template_ids")
    group = place[:, 0].div(_ROWS, rounding_mode="floor")
    scores = templates.new_empty(len(pairs))
    groups = group.argsort().split(group.bincount(minlength=-(-len(ids) // _ROWS)).tolist())
    for rows, chosen in zip(templates.split(_ROWS), groups, strict=True):
        first, second = place[chosen].unbind(1)
        is_paired = torch.zeros_like(ids, dtype=torch.bool).index_fill_(0, second, True)
        products = rows @ templates[is_paired].T
        scores[chosen] = products[first % _ROWS, is_paired.cumsum(0)[second] - 1]
    return scores
